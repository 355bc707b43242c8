package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

// agentTable shows what is known of the agents that have an adapter of their own (schema.Adapter and its Terms).
func agentTable(t *testing.T, what string) string {
	t.Helper()
	columns := map[string]struct {
		heads []string
		of    func(*schema.Adapter, *compile.Mode) []string
	}{
		"start": {[]string{"agent", "to install it", "to log in", "the mode"}, func(a *schema.Adapter, m *compile.Mode) []string {
			return []string{m.Description, quoted("npm install -g " + a.Package), signIn(a), quoted(m.ID)}
		}},
		"traits": {[]string{"adapter", "program", "npm package", "tested with", "login and settings in"}, func(a *schema.Adapter, _ *compile.Mode) []string {
			return []string{quoted(a.Name), quoted(a.Program), quoted(a.Package), testedRange(a), quoted(a.Folder) + ", else " + quoted("~/"+a.Home)}
		}},
		"abilities": {[]string{"adapter", "thinking levels", "`max_turns`", "cost", "settings of its own"}, func(a *schema.Adapter, _ *compile.Mode) []string {
			return []string{quoted(a.Name), quoted(a.Thinking...), pick2(a.Turns, "kept", "not kept: a warning"), pick2(a.Cost, "reported", "not reported"), quoted(a.Terms().Settings...)}
		}},
		"keys": {[]string{"adapter", "a key is looked for in", "to log in"}, func(a *schema.Adapter, _ *compile.Mode) []string {
			return []string{quoted(a.Name), quoted(a.Keys...), signIn(a)}
		}},
		"permissions": {[]string{"adapter", "`basic`", "`elevated`", "`maximum`"}, func(a *schema.Adapter, _ *compile.Mode) []string {
			row := []string{quoted(a.Name)}
			for _, name := range []string{"basic", "elevated", "maximum"} {
				p := a.Terms().Permit(name)
				words := strings.TrimPrefix(p.String(), name+": ")
				if p.AsRoot != "" {
					words += ". As root: " + p.AsRoot
				}
				row = append(row, words)
			}
			return row
		}},
	}
	table, ok := columns[what]
	if !ok {
		t.Fatalf("there is no table of agents %q", what)
	}
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(table.heads)
	b.WriteString(strings.Repeat("|---", len(table.heads)) + "|\n")
	for _, name := range schema.AdapterNames() {
		a := schema.AdapterOf(name)
		if a.Program != "" {
			line(table.of(a, plainMode(t, name)))
		} else if what == "permissions" {
			line(table.of(a, nil))
		}
	}
	return b.String()
}

// plainMode is the mode that takes a runner and is else like the one that holds without any configuration.
func plainMode(t *testing.T, runner string) *compile.Mode {
	t.Helper()
	modes, diags := compile.Modes(assets.Files())
	config, _ := compile.LoadConfig("", nil)
	if diags.HasErrors() || config == nil {
		t.Fatal(diags)
	}
	standard := slices.IndexFunc(modes, func(m *compile.Mode) bool { return m.ID == config.Runtime.DefaultMode })
	for _, m := range modes {
		if m.Runner == runner && alike(m, modes[standard]) {
			return m
		}
	}
	t.Fatalf("no mode is for %s alone", runner)
	return nil
}

func signIn(a *schema.Adapter) string {
	program, inside, asked := strings.Cut(a.Terms().SignIn, ", and in it ")
	if asked {
		return quoted(program) + ", and in it " + quoted(inside)
	}
	return quoted(program)
}

func quoted(words ...string) string {
	const many = 8
	text := "`" + strings.Join(words[:min(len(words), many)], "`, `") + "`"
	if len(words) > many {
		text += ", …"
	}
	return text
}
