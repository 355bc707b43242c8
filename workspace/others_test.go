package workspace

import (
	"fmt"
	"testing"
	"time"
)

// What a command commits is a hint for the daemon at once; what the daemon itself commits is none.
func TestCommitsOfOthersAreHints(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	drain := func() {
		for {
			select {
			case <-x.o.Hints():
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	event := func(i int) func(*State) (*Mutation, error) {
		return func(*State) (*Mutation, error) {
			return &Mutation{By: "test", Why: fmt.Sprint(i), Events: []Event{{Type: EvStop}}}, nil
		}
	}
	drain()
	for i := range 20 {
		if _, err := x.w.Transact(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-x.o.Hints():
		t.Error("own commits are a hint")
	case <-time.After(300 * time.Millisecond):
	}
	other, err := Open(x.w.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i := range 3 {
		if _, err := other.Transact(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-x.o.Hints():
		case <-time.After(10 * time.Second):
			t.Fatal("a commit of another process is no hint")
		}
		drain()
		if _, err := x.w.Transact(t.Context(), event(i)); err != nil { // catches up, then commits as well
			t.Fatal(err)
		}
		select {
		case <-x.o.Hints():
			t.Error("an own commit after another's is a hint")
		case <-time.After(300 * time.Millisecond):
		}
	}
}
