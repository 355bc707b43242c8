package workspace

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is also the other process of the tests that need one.
func TestMain(m *testing.M) {
	switch os.Getenv("MILLRACE_TEST_CHILD") {
	case "kill":
		os.Exit(killChild())
	case "daemon":
		os.Exit(daemonChild())
	case "commit":
		os.Exit(commitChild())
	}
	goleak.VerifyTestMain(m)
}

// tempWorkspace is a temporary folder in memory where there is such a thing: the crash matrix makes tens of
// thousands of files, and none of them has to outlive the test.
func tempWorkspace(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "millrace-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
