// Package compile owns the way from files to the frozen plan: it unifies configuration and workflow assets
// with their CUE definitions, resolves who runs what, checks the graph laws that CUE cannot state, and
// writes one canonical JSON document whose digest is the plan's identity. It is a pure function of the
// bytes it is given, so whoever has the same files has the same plan.
package compile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"millrace/schema"
)

// A Source is everything that a plan is compiled from.
type Source struct {
	Mode   string            // id or alias; "" takes the configuration's default_mode
	Config string            // name of the configuration among Files; "" takes the one of ConfigFiles that is there
	Files  map[string][]byte // by path below the workspace folder; paths that are no inputs are ignored
}

// A Result is what a Source compiles to. Plan, Bytes and Digest are zero when Diags has an error; Config is
// nil when the configuration itself is wrong.
type Result struct {
	Plan   *schema.Plan
	Bytes  []byte // canonical JSON of Plan
	Digest schema.Digest
	Diags  schema.Diagnostics

	// Inputs digests the files that were compiled from, by path; Plan.Inputs equals it. Without a plan it has every
	// file that could be an input, because nobody can say which of them the plan would have used.
	Inputs map[string]schema.Digest
	Config *schema.Config
}

// ConfigFiles are the names a configuration may have, of which at most one may be there.
var ConfigFiles = []string{"millrace.cue", "millrace.yaml", "millrace.json", "millrace.toml"}

// assetFolders hold the CUE files of a workflow.
var assetFolders = []string{"modes/", "graphs/", "stages/", "families/"}

// IsInput reports whether a path below the workspace folder belongs to what a plan is compiled from.
func IsInput(name string) bool {
	if slices.Contains(ConfigFiles, name) {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, "~") {
			return false
		}
	}
	return isAsset(name) || strings.HasPrefix(name, "skills/") ||
		strings.HasPrefix(name, "entrypoints/") && path.Ext(name) == ".md"
}

func isAsset(name string) bool {
	return path.Ext(name) == ".cue" && slices.ContainsFunc(assetFolders, func(folder string) bool {
		return strings.HasPrefix(name, folder)
	})
}

// compiler carries one compilation.
type compiler struct {
	src    Source
	report report
	advice report // shown when nothing is wrong
	inputs map[string]schema.Digest
	config *configuration
	assets *workflow
	mode   *Mode
	plan   *schema.Plan
}

// Compile makes the plan of a source, or says why there is none.
func Compile(src Source) Result {
	c := &compiler{src: src, inputs: map[string]schema.Digest{}}
	c.run()
	r := Result{Diags: c.report.sorted(), Inputs: c.inputs}
	if c.config != nil {
		r.Config = c.config.value
	}
	if !r.Diags.HasErrors() {
		c.plan.Warnings = c.report.plan()
		r.Plan, r.Bytes = c.plan, Marshal(c.plan)
		r.Digest = schema.DigestOf(r.Bytes)
		return r
	}
	for name, data := range src.Files { // whatever it is that has to change
		if (IsInput(name) || name == src.Config) && r.Inputs[name] == "" {
			r.Inputs[name] = schema.DigestOf(data)
		}
	}
	return r
}

// run goes on as far as it can, so that a person sees more than the first mistake.
func (c *compiler) run() {
	c.readConfig()
	c.readAssets()
	if c.assets == nil || c.config == nil || !c.chooseMode() {
		return
	}
	c.plan = &schema.Plan{
		SchemaVersion: schema.Version,
		Mode:          c.mode.ID,
		Graphs:        map[string]*schema.Graph{},
		Stages:        map[string]*schema.StageKind{},
		Families:      c.assets.families(&c.report),
		Runners:       map[string]*schema.Runner{},
		Lanes:         map[string]int{},
		Assets:        map[string]string{},
		Inputs:        c.inputs,
		Checks:        c.config.value.Checks,
		Closure:       c.config.value.Closure,
		Recovery:      c.config.value.AutoRecovery,
	}
	if !c.takeGraphs() || c.report.failed() {
		return // the laws speak of graphs that are there
	}
	c.checkKinds()
	for _, plane := range slices.Sorted(maps.Keys(c.plan.Graphs)) {
		c.checkGraph(c.plan.Graphs[plane])
	}
	c.bind()
	c.embed()
	c.order()
	c.triggers()
	c.lookAside()
}

// lookAside notes the workflow files that the plan was made from, and checks what it does not use: a mistake
// there is shown and stops nobody.
func (c *compiler) lookAside() {
	used := []part{{"modes", c.mode.ID}, {"families", ""}}
	for _, graph := range c.plan.Graphs {
		used = append(used, part{"graphs", graph.ID})
	}
	for id := range c.plan.Stages {
		used = append(used, part{"stages", id})
	}
	for _, name := range c.assets.uses(used) {
		c.inputs[name] = schema.DigestOf(c.src.Files[name])
	}
	var r report
	for _, id := range c.assets.ids("modes") {
		if id != c.mode.ID {
			c.assets.mode(id, &r)
		}
	}
	for _, id := range c.assets.ids("graphs") {
		if !slices.Contains(used, part{"graphs", id}) {
			c.assets.graph(id, &r)
		}
	}
	for _, id := range c.assets.ids("stages") {
		if c.plan.Stages[id] != nil {
			continue
		}
		if kind := c.assets.kind(id, &r); kind != nil && c.src.Files[kind.Entrypoint] != nil {
			linter{c.src.Files, &r, &c.advice}.entrypoint(kind.Entrypoint, kind)
		}
	}
	c.report.aside(r.all...)
	if !c.report.failed() {
		c.report.aside(c.advice.all...)
	}
}

// readConfig takes the configuration file that is asked for, else the one there is, or all defaults.
func (c *compiler) readConfig() {
	var found []string
	if name := c.src.Config; name != "" {
		if _, there := c.src.Files[name]; !there {
			c.report.add(schema.Diagnostic{Severity: schema.Error, Path: name, Message: "there is no such configuration",
				Hint: "write it, or start the daemon without --config"})
			return
		}
		c.takeConfig(name)
		return
	}
	for _, name := range ConfigFiles {
		if _, there := c.src.Files[name]; there {
			found = append(found, name)
		}
	}
	if len(found) > 1 {
		c.report.add(schema.Diagnostic{Severity: schema.Error, Path: found[1],
			Message: "there is a configuration already: " + found[0], Hint: "keep one of them and remove the others"})
		return
	}
	c.takeConfig(append(found, ConfigFiles[0])[0])
}

// takeConfig reads one configuration file; one that is not there is all defaults.
func (c *compiler) takeConfig(name string) {
	data, there := c.src.Files[name]
	config, diags := loadConfig(name, data)
	c.report.add(diags...)
	if config == nil {
		return
	}
	c.config = config
	if there {
		c.inputs[name] = schema.DigestOf(data)
	}
}

// readAssets unifies all workflow files with their definitions.
func (c *compiler) readAssets() {
	files := map[string][]byte{}
	for name, data := range c.src.Files {
		if IsInput(name) && isAsset(name) {
			files[name] = data
		}
	}
	assets, diags := loadWorkflow(files)
	c.report.add(diags...)
	c.assets = assets
}

// chooseMode finds the wanted mode by id or alias.
func (c *compiler) chooseMode() bool {
	want, at, field := c.src.Mode, place{}, ""
	if want == "" {
		want, field = c.config.value.Runtime.DefaultMode, "runtime.default_mode"
		at = c.config.at.value("runtime", "default_mode")
	}
	c.checkAliases()
	if id := c.assets.modeID(want); id != "" {
		c.mode = c.assets.mode(id, &c.report)
		return c.mode != nil
	}
	if at.path == "" {
		at.path = "modes/"
	}
	names := c.assets.modeNames()
	c.report.errorAt(at, "", field, fmt.Sprintf("there is no mode %q", want), choice(want, names))
	return false
}

// checkAliases: a name means one mode.
func (c *compiler) checkAliases() {
	owner := map[string]string{}
	for _, id := range c.assets.ids("modes") {
		owner[id] = id
	}
	for _, id := range c.assets.ids("modes") {
		for i, alias := range c.assets.aliases(id) {
			if other := owner[alias]; other != "" {
				c.report.errorAt(c.assets.at.value("modes", id, "aliases", strconv.Itoa(i)), subject("mode", id), fieldName([]string{"aliases", strconv.Itoa(i)}),
					fmt.Sprintf("%q means mode %q already", alias, other), "")
			}
			owner[alias] = id
		}
	}
}

// takeGraphs puts the mode's graphs and the stage kinds they use into the plan.
func (c *compiler) takeGraphs() bool {
	for _, plane := range slices.Sorted(maps.Keys(c.mode.Graphs)) {
		id := c.mode.Graphs[plane]
		at := c.assets.at.value("modes", c.mode.ID, "graphs", plane)
		if !c.assets.has("graphs", id) {
			c.report.errorAt(at, subject("mode", c.mode.ID), "graphs."+plane,
				fmt.Sprintf("there is no graph %q", id), choice(id, c.assets.ids("graphs")))
			continue
		}
		graph := c.assets.graph(id, &c.report)
		if graph == nil {
			continue
		}
		if graph.Plane != plane {
			c.report.errorAt(at, subject("mode", c.mode.ID), "graphs."+plane,
				fmt.Sprintf("graph %q belongs to plane %q", id, graph.Plane), "")
			continue
		}
		c.plan.Graphs[plane] = graph
		for _, name := range slices.Sorted(maps.Keys(graph.Nodes)) {
			c.takeKind(graph, name)
		}
	}
	return len(c.plan.Graphs) > 0
}

func (c *compiler) takeKind(graph *schema.Graph, node string) {
	id := graph.Nodes[node].Stage
	if c.plan.Stages[id] != nil {
		return
	}
	if !c.assets.has("stages", id) {
		c.report.errorAt(c.assets.at.value("graphs", graph.ID, "nodes", node, "stage"), subject("graph", graph.ID), "nodes."+node,
			fmt.Sprintf("there is no stage kind %q", id), choice(id, c.assets.ids("stages")))
		return
	}
	if kind := c.assets.kind(id, &c.report); kind != nil {
		c.plan.Stages[id] = kind
	}
}

// order decides lanes and which plane comes first.
func (c *compiler) order() {
	c.plan.PlaneOrder, c.plan.ClosureOrder = c.planes(c.mode.PlaneOrder), c.planes(c.mode.Closure)
	for _, plane := range c.plan.PlaneOrder {
		c.plan.Lanes[plane] = 1
		for _, lanes := range []map[string]int{c.mode.Lanes, c.config.value.Runtime.Lanes} {
			if n, ok := lanes[plane]; ok {
				c.plan.Lanes[plane] = n
			}
		}
	}
	for _, planes := range c.mode.Exclusive {
		here := slices.DeleteFunc(slices.Clone(planes), func(plane string) bool { return c.plan.Graphs[plane] == nil })
		if len(here) > 1 {
			c.plan.Exclusive = append(c.plan.Exclusive, here)
		}
	}
	for _, plane := range slices.Sorted(maps.Keys(c.config.value.Runtime.Lanes)) {
		if c.plan.Graphs[plane] == nil {
			c.report.warnAt(c.config.at.name("runtime", "lanes", plane), "", "runtime.lanes."+plane,
				fmt.Sprintf("mode %q has no plane %q", c.mode.ID, plane), "")
		}
	}
}

// planes puts those that the plan has in an order; those that it does not name come last.
func (c *compiler) planes(order []string) []string {
	planes := slices.DeleteFunc(slices.Clone(order), func(plane string) bool { return c.plan.Graphs[plane] == nil })
	for _, plane := range slices.Sorted(maps.Keys(c.plan.Graphs)) {
		if !slices.Contains(planes, plane) {
			planes = append(planes, plane)
		}
	}
	return planes
}

// Marshal writes a plan as canonical JSON: keys sorted, two blanks of indentation, one line end. Its digest
// is the plan's identity.
func Marshal(p *schema.Plan) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		panic(fmt.Sprintf("marshal plan: %v", err)) // plain values only
	}
	return b.Bytes()
}
