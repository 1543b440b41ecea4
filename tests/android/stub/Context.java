package android.content;

import android.content.res.AssetManager;

/** Android's, whose assets lie in the folder of the property `assets`. */
public class Context {
  public AssetManager getAssets() {
    return new AssetManager();
  }
}
