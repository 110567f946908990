# What package sets do too seldom to train it: loops, texts, numbers.
with builtins;
let
  fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
  depth = n: if n == 0 then 0 else 1 + depth (n - 1);
  numbered = n: listToAttrs (genList (i: { name = "a${toString (i * n)}"; value = i; }) 40);
  item = i: "item-${toString i}-${substring 0 3 (toString (i * 31))}";
  records = genList (i: { name = "n${toString i}"; value = [ i (i / 2.0) true null ]; }) 800;
  pattern = { a, b ? a, ... }: a + b;
in [
  (fib 16)
  (depth 3000)
  (foldl' (a: b: a + b) 0 (genList (x: x * 2) 6000))
  (length (attrNames (foldl' (a: n: a // numbered n) { } (genList (n: n) 50))))
  (head (sort (a: b: a < b) (genList (i: (i * 7919) - (i * 7919 / 10007) * 10007) 1500)))
  (stringLength (concatStringsSep "," (genList item 3000)))
  (length (filter (x: x != null)
    (genList (i: match "([a-z]+)-([0-9]+)(\\.[0-9]+)*" "package-${toString i}.2.3") 800)))
  (length (split "[, ]+" (concatStringsSep ", " (genList toString 2000))))
  (length (fromJSON (toJSON records)))
  (stringLength (toXML records))
  (length (filter (x: x > 5) (genList (x: x) 10000)))
  (foldl' (a: i: a + stringLength (replaceStrings [ "-" "." "_" ] [ "" "" "-" ] "foo-${toString i}.2_3")) 0
    (genList (i: i) 1500))
  (with { a = 1; b = 2; }; with { c = 3; }; foldl' (x: y: x + a + b + c) 0 (genList (x: x) 4000))
  (length (genericClosure {
    startSet = [ { key = 0; } ];
    operator = x: if x.key < 800 then [ { key = x.key + 1; } { key = x.key + 2; } ] else [ ];
  }))
  (foldl' (x: i: x + pattern { a = i; c = 1; }) 0 (genList (i: i) 3000))
  (map (x: (tryEval (if x > 3 then throw "no" else assert x != 2; x)).success) (genList (x: x) 20))
  (attrNames (mapAttrs (n: v: v) (listToAttrs (genList (i: { name = "x${toString i}"; value = i; }) 300))))
]
