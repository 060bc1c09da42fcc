"""How the upstream is spoken to: the codec, the signer, the guard and the one socket."""
