package demoagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// judge holds the project against the contract: a point of it is met when the checks that name it pass, and those
// are all of them when none does. Millrace has just run them; the arbiter runs them again and believes what it sees.
func (a *agent) judge(ctx context.Context) (string, error) {
	target, from, contract, err := a.contract()
	if err != nil {
		return "", err
	}
	v := schema.ClosureVerdict{ArtifactHead: a.head("verdict"), RootSpecID: target.RootSpecID, Verdict: schema.VerdictPass}
	var rubric strings.Builder
	fmt.Fprintf(&rubric, "# Rubric of %s\n\nEach point of %s holds when the checks pass that it names, or all of them when it names none.\n\n",
		target.ID, from)
	for _, name := range []string{"Goals", "Non-Goals", "Constraints", "Acceptance"} {
		for _, text := range list(contract, name) {
			c := schema.Criterion{ID: fmt.Sprintf("c%d", len(v.Criteria)+1), Text: text}
			fmt.Fprintf(&rubric, "- %s: %s\n", c.ID, text)
			v.Criteria = append(v.Criteria, c)
		}
	}
	if len(v.Criteria) == 0 {
		return "", errors.New("the contract asks for nothing")
	}
	passed := map[string]bool{}
	for _, c := range a.request.Checks {
		if passed[c.Name], err = a.runCheck(ctx, c); err != nil {
			return "", err
		}
	}
	for i := range v.Criteria {
		holds := a.settle(&v.Criteria[i], passed)
		c := v.Criteria[i]
		a.say("- %s %s: %s", c.ID, c.Result, c.Text)
		if !holds {
			v.Gaps = append(v.Gaps, schema.Gap{ID: fmt.Sprintf("g%d", len(v.Gaps)+1), Title: "Not so: " + c.Text, Evidence: c.Evidence})
		}
	}
	outcome := "ARBITER_COMPLETE"
	if len(v.Gaps) > 0 {
		v.Verdict, outcome = schema.VerdictGaps, "REMEDIATION_NEEDED"
	}
	a.say("%d of %d points of the contract hold.", len(v.Criteria)-len(v.Gaps), len(v.Criteria))
	a.made["rubric"] = rubric.String()
	return outcome, a.make("verdict", v)
}

// settle says whether a criterion holds, and what shows it.
func (a *agent) settle(c *schema.Criterion, passed map[string]bool) bool {
	words := strings.FieldsFunc(c.Text, func(r rune) bool { return strings.ContainsRune(" `.,;:", r) })
	named := slices.ContainsFunc(a.request.Checks, func(k schema.Check) bool { return slices.Contains(words, k.Name) })
	holds := true
	for i, k := range a.request.Checks {
		if named && !slices.Contains(words, k.Name) {
			continue
		}
		log := path.Join(workspace.RequestDir(a.request.Run, a.request.ID), schema.ChecksFolder, fmt.Sprintf("before-%d.log", i+1))
		c.Evidence = append(c.Evidence, fmt.Sprintf("check %s: `%s` (%s)", k.Name, k.Run, log))
		holds = holds && passed[k.Name]
	}
	c.Result, c.Provenance = schema.VerdictPass, "fresh"
	if len(c.Evidence) == 0 {
		holds, c.Provenance = false, "missing"
	}
	if !holds {
		c.Result = "gap"
	}
	return holds
}

// contract is the root spec as it was when work on it began, with where it lies below the workspace folder.
func (a *agent) contract() (t schema.ClosureTarget, from, text string, err error) {
	if err := json.Unmarshal([]byte(a.item()), &t); err != nil {
		return t, "", "", fmt.Errorf("read closure target: %w", err)
	}
	name := fmt.Sprintf("%s@%d.md", t.RootSpecID, t.Generation)
	at := slices.IndexFunc(t.Contract, func(p string) bool { return path.Base(p) == name })
	if at < 0 {
		return t, "", "", fmt.Errorf("the target lists no contract %s", name)
	}
	data, err := os.ReadFile(filepath.Join(workspace.Folder, filepath.FromSlash(t.Contract[at])))
	return t, t.Contract[at], string(data), err
}
