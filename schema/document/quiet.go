package document

import (
	"os"

	"cuelang.org/go/cue/cuecontext"
)

// The CUE library reads its debugging switches when the first context of a program is made. A person's
// environment must not change what is valid, so the first one is made here, without them, before
// anything else runs; what the stages inherit stays as it was.
var _ = quiet("CUE_EXPERIMENT", "CUE_DEBUG")

func quiet(names ...string) bool {
	for _, name := range names {
		if value, set := os.LookupEnv(name); set {
			_ = os.Unsetenv(name) // both fail for impossible names only
			defer func() { _ = os.Setenv(name, value) }()
		}
	}
	return cuecontext.New() != nil
}
