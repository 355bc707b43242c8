package schema

import "embed"

// CUE holds the definitions beside this package's Go types, one file a subject.
//
//go:embed *.cue
var CUE embed.FS
