# One package of many; its arguments come from the set.
{ stdenv, lib, fetchurl, label, version, inputs ? [ ], zlib ? null, xorg, gtkSupport ? true, libX11 ? null
, tests ? false, makeWrapper ? null, python ? null }:

assert gtkSupport -> libX11 != null;

with lib;

stdenv.mkDerivation rec {
  name = "${pname}-${version}";
  pname = builtins.replaceStrings [ "_" ] [ "-" ] fullName;
  fullName = if hasSuffix "_lib" name' then removeSuffix "_lib" name' else name';
  name' = builtins.replaceStrings [ "." ] [ "_" ] label;

  src = fetchurl {
    url = "mirror://gnu/${pname}/${pname}-${version}.tar.xz";
    sha256 = builtins.hashString "sha256" "${pname}${version}";
  };

  buildInputs = inputs ++ optional (zlib != null) zlib ++ optionals gtkSupport [ xorg.libX11 xorg.libXext ];
  nativeBuildInputs = [ makeWrapper ];
  outputs = if versionAtLeast version "2.0" then [ "out" "dev" ] else [ "out" ];

  configureFlags = [ "--with-x=${if gtkSupport then "yes" else "no"}" "--disable-static" ]
    ++ optional stdenv.isLinux "--enable-alsa" ++ optional (stdenv.isDarwin && !tests) "--without-threads";

  # Texts of several lines, as the phases of packages are.
  preConfigure = ''
    for file in $(find . -name '*.sh'); do
      substituteInPlace $file --replace /bin/bash ${stdenv.shell}
    done
    ${optionalString tests ''
      make check prefix=$out
    ''}
    export HOME=$TMPDIR/''${USER:-nobody}
  '';
  postInstall = "mkdir -p $out/share/doc\n" + concatMapStrings (f: "cp ${f} $out/share/doc/\n") [ "README" "NEWS" "COPYING" ];
  doCheck = tests;
  enableParallelBuilding = true;

  meta = {
    description = "The package called ${pname}";
    homepage = "http://example.org/${pname}";
    license = { shortName = "gpl3"; free = true; };
    platforms = platforms.linux;
    maintainers = [ maintainers.person1 maintainers.person2 ];
  };
}
