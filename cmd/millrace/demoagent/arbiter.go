package demoagent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
)

// judge holds the project against the contract: a point of it is met when the checks that name it pass, and those
// are all of them when none does. Millrace has just run them; the arbiter runs them again and believes what it sees.
func (a *agent) judge(ctx context.Context) (string, error) {
	target, contract, err := a.contract()
	if err != nil {
		return "", err
	}
	v := schema.ClosureVerdict{ArtifactHead: a.head("verdict"), RootSpecID: target.RootSpecID, Verdict: schema.VerdictPass}
	rubric := fmt.Sprintf("# Rubric of %s\n\nEach point of %s holds when its checks pass.\n\n", target.ID, target.Contract[0])
	for _, name := range []string{"Goals", "Non-Goals", "Constraints", "Acceptance"} {
		for _, text := range list(contract, name) {
			c := schema.Criterion{ID: fmt.Sprintf("c%d", len(v.Criteria)+1), Text: text}
			rubric += fmt.Sprintf("- %s: %s\n", c.ID, text)
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
		if !a.settle(&v.Criteria[i], passed) {
			c := v.Criteria[i]
			v.Gaps = append(v.Gaps, schema.Gap{ID: fmt.Sprintf("g%d", len(v.Gaps)+1), Title: "Not so: " + c.Text, Evidence: c.Evidence})
		}
	}
	outcome := "ARBITER_COMPLETE"
	if len(v.Gaps) > 0 {
		v.Verdict, outcome = schema.VerdictGaps, "REMEDIATION_NEEDED"
	}
	a.say("%d of %d points of the contract hold.", len(v.Criteria)-len(v.Gaps), len(v.Criteria))
	a.made["rubric"] = rubric
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
		log := path.Join(schema.ChecksFolder, fmt.Sprintf("before-%d.log", i+1))
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
