// Package assets owns the baseline that init deploys into a workspace: modes, graphs, stage kinds and
// families as CUE, entrypoints and skills as Markdown; and the demo project. All of it is data. An operator's
// files beside the deployed ones have the same rights, and nothing in Go knows their names.
package assets

import "embed"

//go:embed modes graphs stages families entrypoints skills
var baseline embed.FS

// Files is the managed baseline: path below the workspace folder → bytes. The caller may change the map.
func Files() map[string][]byte { return tree(baseline, ".") }
