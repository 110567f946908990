# A user environment: the union of packages as a tree of symbolic links, made by the builder itself.
{ derivations, manifest }:
derivation {
  name = "user-environment";
  inherit manifest;

  # For each package: active, priority, number of outputs, and the outputs.
  derivations = map
    (package:
      [ (package.meta.active or "true") (package.meta.priority or 5) (builtins.length package.outputs) ]
      ++ map (output: builtins.getAttr output package) package.outputs)
    derivations;

  builder = "builtin:buildenv";
  system = "builtin";
  preferLocalBuild = true; # copying links over a network would take longer than making them
  allowSubstitutes = false;
}
