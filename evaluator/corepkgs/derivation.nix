# What the global function `derivation` is: `derivationStrict` made lazy. Its result is the first output; every output
# has all outputs as attributes, and `all`, the list of them, so `pkg.man.dev.out` is again `pkg.out`.
attributes @ { outputs ? [ "out" ], ... }:
let
  strict = derivationStrict attributes;

  shared = attributes // builtins.listToAttrs named // {
    all = map (output: output.value) named;
    drvAttrs = attributes;
  };

  named = map
    (outputName: {
      name = outputName;
      value = shared // {
        inherit outputName;
        inherit (strict) drvPath;
        outPath = builtins.getAttr outputName strict;
        type = "derivation";
      };
    })
    outputs;
in
# Of no outputs there is no first: `derivationStrict` says what is wrong.
if outputs == [ ] then strict else (builtins.head named).value
