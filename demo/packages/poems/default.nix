# Data only, and a file that is made during evaluation.
{ mkDerivation }:

mkDerivation {
  pname = "poems";
  version = "2";
  poem = ./glacier.txt;
  index = builtins.toFile "index" (builtins.toJSON { glacier = "Glacier"; });

  buildCommand = ''
    mkdir -p $out/share/poems
    cp $poem $out/share/poems/glacier.txt
    cp $index $out/share/poems/index.json
  '';

  meta.description = "Something to count";
}
