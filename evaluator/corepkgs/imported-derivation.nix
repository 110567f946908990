# The value of `import FILE.drv`: a set like that of `derivation`, made from what the `.drv` says. The argument has the
# attributes `drvPath`, `name`, `outputs` (sorted names) and one path for each output.
recipe @ { drvPath, name, outputs, ... }:
let
  shared = builtins.listToAttrs named // {
    all = map (output: output.value) named;
    inherit drvPath name;
    type = "derivation";
  };

  named = map
    (outputName: {
      name = outputName;
      value = shared // {
        inherit outputName;
        outPath = builtins.getAttr outputName recipe;
      };
    })
    outputs;
in
(builtins.head named).value
