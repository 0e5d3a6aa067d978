# Reads capabilities.txt, then lines of "BINARY TEST SECONDS": prints "CAPABILITY<tab>SECONDS" for each.

FNR == NR {
    at = index($0, " = ")
    if (at > 0 && $0 !~ /^#/) {
        names[++count] = substr($0, 1, at - 1)
        patterns[count] = substr($0, at + 3)
    }
    next
}

{
    test = $1 " " $2
    name = "no capability: " test
    for (i = 1; i <= count; i++) {
        if (test ~ patterns[i]) {
            name = names[i]
            break
        }
    }
    printf "%s\t%f\n", name, $3
}
