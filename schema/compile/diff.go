package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// Diff says line by line what differs between two plans: "+" is only in b, "-" only in a. Plans that differ
// in nothing a run would notice differ in their inputs at most.
func Diff(a, b *schema.Plan) []string {
	var lines []string
	differ(nil, record(a), record(b), &lines)
	return lines
}

// record is a plan as plain values, without what only repeats the rest: where bound values came from, and
// warnings.
func record(p *schema.Plan) any {
	if p == nil {
		return map[string]any{}
	}
	var v map[string]any
	if err := json.Unmarshal(Marshal(p), &v); err != nil {
		panic("read plan: " + err.Error()) // just written
	}
	delete(v, "warnings")
	for _, g := range p.Graphs {
		nodes := v["graphs"].(map[string]any)[g.Plane].(map[string]any)["nodes"].(map[string]any)
		for _, n := range nodes {
			delete(n.(map[string]any), "from")
		}
	}
	return v
}

func differ(path []string, a, b any, lines *[]string) {
	x, isMap := a.(map[string]any)
	y, alsoMap := b.(map[string]any)
	if !isMap || !alsoMap {
		if s, t := show(a), show(b); s != t {
			*lines = append(*lines, changed(path, s, t))
		}
		return
	}
	names := map[string]bool{}
	for _, side := range []map[string]any{x, y} {
		for name := range side {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := append(slices.Clip(path), name)
		before, was := x[name]
		after, is := y[name]
		switch {
		case !is:
			*lines = append(*lines, "- "+entry(at, before))
		case !was:
			*lines = append(*lines, "+ "+entry(at, after))
		default:
			differ(at, before, after, lines)
		}
	}
}

// changed is one changed value; of files only that they changed.
func changed(path []string, before, after string) string {
	switch path[0] {
	case "assets":
		return fmt.Sprintf("~ %s: the text changed", path[1])
	case "inputs":
		return fmt.Sprintf("~ %s: the file changed", path[1])
	}
	return fmt.Sprintf("~ %s: %s → %s", fieldName(path), before, after)
}

// entry names what only one side has; a whole branch by its name alone.
func entry(path []string, v any) string {
	if _, branch := v.(map[string]any); branch {
		return fieldName(path)
	}
	switch path[0] {
	case "assets", "inputs":
		return strings.Join(path, " ")
	}
	return fieldName(path) + ": " + show(v)
}

func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
