package android.content.res;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;

public final class AssetManager {
  public InputStream open(String name) throws IOException {
    return new FileInputStream(path(name));
  }

  public AssetFileDescriptor openFd(String name) throws IOException {
    return new AssetFileDescriptor(path(name));
  }

  static String path(String name) {
    return Path.of(System.getProperty("assets"), name).toString();
  }
}
