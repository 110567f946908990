# A real C program of several files: a shared library, a program that uses it, a manual page, and what others need to
# link against it, each in an output of its own.
{ mkDerivation, version }:

mkDerivation {
  pname = "tally";
  inherit version;
  src = ./src;
  outputs = [ "out" "man" "dev" ];
  longest = if builtins.compareVersions version "1.1" >= 0 then "1" else "";

  buildCommand = ''
    cp $src/* .
    flags="-std=c11 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -Werror -DTALLY_VERSION=\"$version\" ''${longest:+-DTALLY_LONGEST}"
    for file in table words; do
      gcc $flags -fPIC -c $file.c -o $file.o
    done
    mkdir -p $out/bin $out/lib $man/share/man/man1 $dev/include $dev/lib/pkgconfig
    gcc -shared -Wl,-soname,libtally.so.1 table.o words.o -o $out/lib/libtally.so.1
    ln -s libtally.so.1 $out/lib/libtally.so
    gcc $flags main.c report.c -L$out/lib -ltally -Wl,-rpath,$out/lib -o $out/bin/tally

    sed "s/@version@/$version/" tally.1 >$man/share/man/man1/tally.1
    cp tally.h $dev/include/
    sed "s,@out@,$out,; s,@dev@,$dev,; s/@version@/$version/" tally.pc >$dev/lib/pkgconfig/tally.pc
  '';

  meta = {
    description = "Count the words of a text";
    mainProgram = "tally";
    outputsToInstall = [ "out" "man" ];
  };
}
