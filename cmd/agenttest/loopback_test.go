//go:build agents

package agenttest

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Where the system lets us make a network of our own, nothing that a test starts can reach anything but loopback.
func TestNothingButLoopback(t *testing.T) {
	if os.Getenv(aloneEnv) == "" {
		t.Skip("the system allows no network namespace: agents are kept on loopback by their proxy settings only")
	}
	interfaces, err := net.Interfaces()
	check(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 {
			t.Errorf("%s is up", i.Name)
		}
	}
	conn, err := net.DialTimeout("tcp", "192.0.2.1:80", time.Second) // an address for documentation
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("an address that is not ours: %v, want that the network is unreachable", err)
	}
}
