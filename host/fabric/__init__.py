"""Where the cascade's stages run: one small interface, interchangeable makers."""
