package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

/** LiteRT's, as far as it is needed: keeps the bytes of its inputs and gives those of outputs. */
public final class Interpreter implements AutoCloseable {
  public static class Options {
    public Options setNumThreads(int threads) {
      return this;
    }
  }

  public Interpreter(ByteBuffer model, Options options) {
    Device.loaded(model);
  }

  public void resetVariableTensors() {}

  public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
    for (int i = 0; i < inputs.length; i++) {
      ByteBuffer buffer = (ByteBuffer) inputs[i];
      byte[] bytes = new byte[buffer.capacity()];
      buffer.duplicate().get(bytes);
      Device.take("" + i, bytes);
    }
    outputs.forEach((i, output) -> ((ByteBuffer) output).put(Device.give("" + i)));
  }

  @Override
  public void close() {}
}
