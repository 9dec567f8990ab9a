package tidy

// longFunctions tolerates functions longer than functionLines, as `path name`, at their present length.
var longFunctions = map[string]int{}

// longFiles tolerates files longer than fileLines at their present length.
var longFiles = map[string]int{}
