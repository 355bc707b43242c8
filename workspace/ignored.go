package workspace

// Ignored reports whether a name in the declarations' folder is passed over: what editors, people and
// file managers leave about.
func Ignored(name string) bool { return ignored(name) }
