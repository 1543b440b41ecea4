// LiteRT's Kotlin classes, as far as they are needed: inputs are kept, outputs given by name.
package com.google.ai.edge.litert

import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Device

enum class Accelerator { CPU, GPU, NPU }

class Environment : AutoCloseable {
    override fun close() = Unit
}

class TensorBuffer internal constructor(internal val name: String) : AutoCloseable {
    internal var bytes = ByteArray(0)

    fun writeInt8(data: ByteArray) {
        bytes = data
    }

    fun writeFloat(data: FloatArray) = fill(4 * data.size) { asFloatBuffer().put(data) }

    fun writeInt(data: IntArray) = fill(4 * data.size) { asIntBuffer().put(data) }

    fun readInt8(): ByteArray = bytes

    fun readFloat() =
        FloatArray(bytes.size / 4).also {
            ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder()).asFloatBuffer().get(it)
        }

    override fun close() = Unit

    private fun fill(size: Int, put: ByteBuffer.() -> Unit) {
        bytes = ByteBuffer.allocate(size).order(ByteOrder.nativeOrder()).apply(put).array()
    }
}

class CompiledModel private constructor() : AutoCloseable {
    class Options(vararg val accelerators: Accelerator)

    fun createInputBuffer(inputName: String, signature: String? = null) = TensorBuffer(inputName)

    fun createOutputBuffer(outputName: String, signature: String? = null) = TensorBuffer(outputName)

    fun run(
        inputs: Map<String, TensorBuffer>,
        outputs: Map<String, TensorBuffer>,
        signature: String? = null,
    ) {
        inputs.forEach { (name, buffer) -> Device.take(name, buffer.bytes) }
        outputs.forEach { (name, buffer) -> buffer.bytes = Device.give(name) }
    }

    override fun close() = Unit

    companion object {
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel {
            assetManager.open(assetName).close()
            return CompiledModel()
        }
    }
}
