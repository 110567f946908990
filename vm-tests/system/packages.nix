# Packages for machines in tests: busybox from the distribution, and what can be made with nothing else.
{ busyboxFolder ? /usr/bin, system ? builtins.currentSystem }:
rec {
  # A directory, because busybox goes by the name it is called by.
  busyboxPackage = builtins.path {
    path = busyboxFolder;
    name = "busybox";
    filter = path: type: baseNameOf path == "busybox";
  };
  busybox = "${busyboxPackage}/busybox";

  # A derivation whose builder is busybox's shell; `out` is its directory.
  run = name: environment: script:
    derivation (environment // {
      inherit name system script;
      builder = busybox;
      passAsFile = [ "script" ] ++ environment.passAsFile or [ ];
      args = [ "sh" "-euc" "PATH=/bb; ${busybox} mkdir -p bb; ${busybox} --install -s bb; export PATH=$PWD/bb; . \"$scriptPath\"" ];
    });

  tools = run "busybox-tools" { } ''
    mkdir -p "$out/bin"
    ${busybox} --install -s bb
    for applet in bb/*; do
      ln -s ${busybox} "$out/bin/''${applet##*/}"
    done
  '';

  writeScript = name: text: run name { inherit text; passAsFile = [ "text" ]; } ''
    printf '#!%s/bin/sh\n' ${tools} >"$out"
    cat "$textPath" >>"$out"
    chmod +x "$out"
  '';

  writeText = builtins.toFile;

  # A directory of links: `links` maps names to targets.
  linkFarm = name: links:
    run name { } ("mkdir -p \"$out\"\n" + builtins.concatStringsSep "" (builtins.attrValues (builtins.mapAttrs (target: source: ''
      mkdir -p "$(dirname "$out/${target}")"
      ln -s ${source} "$out/${target}"
    '') links)));

  # The union of the bin directories of packages, earlier ones first.
  environment = name: packages: run name { inherit packages; } ''
    mkdir -p "$out/bin"
    for package in $packages; do
      for program in "$package"/bin/*; do
        [ -e "$out/bin/''${program##*/}" ] || ln -s "$program" "$out/bin/"
      done
    done
  '';
}
