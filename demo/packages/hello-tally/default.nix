# Built against another package: headers and library come from tally's `dev` and `out`, through pkg-config.
{ mkDerivation, tally, poems }:

mkDerivation {
  pname = "hello-tally";
  version = "0.3";
  src = ./hello.c;
  PKG_CONFIG_PATH = "${tally.dev}/lib/pkgconfig";
  inherit poems;

  buildCommand = ''
    mkdir -p $out/bin
    gcc -std=c11 -O2 -Wall -Wextra -Werror -DPOEM="\"$poems/share/poems/glacier.txt\"" $src \
      $(pkg-config --cflags --libs tally) -Wl,-rpath,${tally}/lib -o $out/bin/hello-tally
  '';

  meta.description = "Greet with the most frequent word";
}
