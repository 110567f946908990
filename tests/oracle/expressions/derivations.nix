# Derivations of every kind, and what real Nix makes of them: the paths say whether all of their text is the same.
let
  d = a: derivation ({ name = "x"; system = "s"; builder = "/b"; } // a);
  text = builtins.toFile "text" "hi";
  multi = d { name = "multi"; outputs = [ "z" "out" "dev" ]; };
  fixed = d { name = "f"; outputHash = "0000000000000000000000000000000000000000000000000000"; outputHashAlgo = "sha256"; };
in map (x: { inherit (x) drvPath outPath; all = map toString x.all; }) [
  (d { })
  multi
  fixed
  (d { a = "\n\t\"\\\r$x"; "é" = "1"; "𝔘" = "2"; "￿" = "3"; args = [ "-e" text 1 ./tree ]; })
  (d { x = [ 1 2.5 true null "é" text [ ] [ "a" ] ]; a = multi.dev; b = multi; c = multi.drvPath; })
  (d { c = builtins.unsafeDiscardOutputDependency multi.drvPath; u = fixed; v = d { inherit fixed; }; })
  (d { __ignoreNulls = true; x = null; y = 1; })
  (d { __structuredAttrs = true; x = [ 1 2.5 true null "é\n" text { a = 1; b = multi; } ]; outputs = [ "out" "doc" ]; })
  (d { outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; outputHashMode = "recursive"; })
  (d { outputHash = "sha256-nbrmg9SqCqMrLE7WCfNEzMV/eS9UVCKCrjBrGMzAsLk"; outputHashMode = "recursive"; })
  (d { outputHash = "d41d8cd98f00b204e9800998ecf8427e"; outputHashAlgo = "md5"; p = multi.dev; })
  (d { outputHash = "0000000000000000000000000000000000000000"; outputHashAlgo = "sha1"; outputHashMode = "recursive"; })
  (d { src = ./tree; filtered = builtins.filterSource (p: t: t != "symlink" && baseNameOf p != "no") ./tree; })
  (d { named = builtins.path { path = ./tree; name = "named"; filter = p: t: t == "directory"; }; })
  (d { flat = builtins.path { path = ./tree/file; recursive = false; }; })
  (import <nix/fetchurl.nix> { url = "http://example.org/x.tar.gz"; sha256 = "0000000000000000000000000000000000000000000000000000"; })
  (import <nix/fetchurl.nix> { url = "http://e.org/y"; hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; executable = true; })
]
