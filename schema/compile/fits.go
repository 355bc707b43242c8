package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// What is asked of an agent is compared with what its adapter can do (schema.Adapter): a setting that nobody would
// read, and a level that nobody has, are said here and not found out by an agent that does otherwise.

// fieldsOf finds the fields of one record.
func fieldsOf(at *places, record ...string) func(field ...string) place {
	return func(field ...string) place { return at.name(append(slices.Clip(record), field...)...) }
}

// fits says what a runner asks of its adapter in vain.
func fits(r *schema.Runner, at func(field ...string) place) schema.Diagnostics {
	var rep report
	field := "runners." + r.Name
	adapter := schema.AdapterOf(r.Adapter)
	if adapter == nil {
		rep.errorAt(at("adapter"), "", field+".adapter", fmt.Sprintf("there is no adapter %q", r.Adapter), adapterChoice(r.Adapter))
		return rep.all
	}
	for _, setting := range settings(r) {
		if readers := readersOf(setting); len(readers) > 0 && !slices.Contains(adapter.Terms().Settings, setting) {
			rep.errorAt(at(setting), "", field+"."+setting, fmt.Sprintf("the adapter %s does not read this", r.Adapter),
				"take it away; it is for "+strings.Join(readers, ", "))
		}
	}
	if adapter.Program == "" && len(r.Run) == 0 {
		rep.errorAt(at(), "", field, fmt.Sprintf("run is missing: the adapter %s does not know what to start", r.Adapter),
			`add the command line, like run: ["./agent.sh", "{{prompt_file}}"]`)
	}
	return rep.all
}

// adapterChoice is the hint for a name that no adapter has; often it is the program's.
func adapterChoice(got string) string {
	for _, name := range schema.AdapterNames() {
		if got != "" && got == schema.AdapterOf(name).Program {
			return fmt.Sprintf("did you mean %q?", name)
		}
	}
	return choice(got, schema.AdapterNames())
}

// settings are the names of the fields that a runner has, sorted.
func settings(r *schema.Runner) []string {
	data, err := json.Marshal(r)
	if err != nil {
		panic("write runner: " + err.Error()) // text, and maps and lists of text
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		panic("read runner: " + err.Error())
	}
	return slices.Sorted(maps.Keys(fields))
}

// readersOf are the adapters that read a setting; none when all of them do.
func readersOf(setting string) []string {
	return slices.DeleteFunc(schema.AdapterNames(), func(name string) bool {
		return !slices.Contains(schema.AdapterOf(name).Terms().Settings, setting)
	})
}

// idleRunners warns of runners that no stage of the plan takes: they will be taken one day.
func (c *compiler) idleRunners() {
	named := c.config.value.Runners.Named
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if c.plan.Runners[name] == nil {
			runner := named[name].Runner
			runner.Name = name
			c.report.aside(fits(&runner, fieldsOf(c.config.at, "runners", name))...)
		}
	}
}

// aliasNames warns of model aliases for adapters that there are not.
func (c *compiler) aliasNames() {
	known := schema.AdapterNames()
	warn := func(at *places, aliases map[string]schema.ModelAlias, path ...string) {
		for _, alias := range slices.Sorted(maps.Keys(aliases)) {
			for _, name := range slices.Sorted(maps.Keys(aliases[alias].By)) {
				if !slices.Contains(known, name) {
					c.report.warnAt(at.name(append(slices.Clip(path), alias, name)...), "", "model_aliases."+alias+"."+name,
						fmt.Sprintf("there is no adapter %q", name), adapterChoice(name))
				}
			}
		}
	}
	warn(c.config.at, c.config.value.ModelAliases, "model_aliases")
	warn(c.assets.at, c.mode.Models, "modes", c.mode.ID, "model_aliases")
}

// thinks refuses a thinking level that the agent does not have: it would refuse it itself, or pass it over. What
// knows no levels at all, a program of the operator's own, may read the level in its request.
func (b binder) thinks(stage, name string, level candidate) {
	adapter := schema.AdapterOf(name)
	if adapter == nil || len(adapter.Thinking) == 0 || level.value == "" || slices.Contains(adapter.Thinking, level.value) {
		return
	}
	b.report.errorAt(level.at, "", "thinking_level", fmt.Sprintf("%s, which runs stage %s, has no thinking level %q (%s)", name, stage, level.value, level.from),
		fmt.Sprintf("it has %s; one that only a newer agent knows goes into the runner's args", strings.Join(adapter.Thinking, ", ")))
}

// provided refuses a provider without a model of it: it is a model's provider that an agent can be told.
func (b binder) provided(n *schema.Node, r *schema.Runner) {
	adapter := schema.AdapterOf(r.Adapter)
	if r.Provider == "" || n.Model != "" || adapter == nil || !slices.Contains(adapter.Terms().Settings, "provider") {
		return
	}
	_, at, _ := b.declared(n.Runner)
	b.report.errorAt(at("provider"), "", "runners."+n.Runner+".provider", fmt.Sprintf("stage %s has no model, and a provider alone says nothing", n.Stage),
		fmt.Sprintf("add runners.%s.model, or a model for the stage", n.Runner))
}

// turns warns of a limit that the agent does not keep.
func (b binder) turns(stage, name string, at place) {
	if adapter := schema.AdapterOf(name); adapter != nil && adapter.Program != "" && !adapter.Turns {
		b.report.warnAt(at, "", "max_turns", fmt.Sprintf("%s, which runs stage %s, has no turns to count: the limit is not kept", name, stage),
			"timeout and stall_timeout are kept with every agent")
	}
}
