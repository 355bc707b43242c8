package result

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schema"
)

// maxMessage is how many bytes an agent may give as its reason: they are shown wherever the item is.
const maxMessage = 2000

// verdict normalises the completion. A verdict with a Failure has no outcome yet: which one the failure
// takes, if any, is decided afterwards.
func (h *harvest) verdict() schema.Verdict {
	if h.c.Request != "" && h.c.Request != h.run.Request {
		return h.failed(schema.FailSupervisorLost, "the completion is that of request "+h.c.Request)
	}
	class := failure(h.c)
	if class == schema.FailSupervisorLost && h.c.Claim != nil && h.proven(h.c.Claim.Outcome) {
		if v := h.claimed(); v.Failure == "" {
			return v // the agent had said all it had to say: it is not paid twice
		}
	}
	if class != "" {
		return h.failed(class, h.c.Detail)
	}
	return h.claimed()
}

// failure is the class of a completion that says it failed, else "".
func failure(c *schema.Completion) string {
	if c.Failure != "" {
		return c.Failure
	}
	switch c.Exit {
	case schema.ExitFailed:
		return schema.FailExit
	case schema.ExitTimeout:
		return schema.FailTimeout
	case schema.ExitStalled:
		return schema.FailStalled
	case schema.ExitCancelled:
		return schema.FailCancelled
	case schema.ExitNotStarted:
		return schema.FailNotStarted
	}
	return ""
}

func (h *harvest) failed(class, message string) schema.Verdict {
	return schema.Verdict{Failure: class, Message: message}
}

// claimed holds what the agent said against what its stage kind allows.
func (h *harvest) claimed() schema.Verdict {
	claim := h.claim()
	if claim == nil {
		return h.failed(schema.FailMissingOutcome, firstOf(h.c.Detail, "the agent named no outcome"))
	}
	classes := legalClasses(h.kind, claim.Outcome)
	if classes == nil {
		return h.failed(schema.FailIllegalOutcome, fmt.Sprintf("%s is no outcome of %s", claim.Outcome, h.kind.ID))
	}
	class := firstOf(claim.Class, classes[0])
	if !slices.Contains(classes, class) {
		return h.failed(schema.FailIllegalOutcome, fmt.Sprintf("%s does not carry the class %s but %s", claim.Outcome,
			class, strings.Join(classes, " or ")))
	}
	if file := h.lacks(claim.Outcome); file != "" {
		why := fmt.Sprintf("%s needs %s, which was not written", claim.Outcome, file)
		if strings.Contains(h.c.Detail, file) { // something lies there
			why = fmt.Sprintf("%s needs %s: %s", claim.Outcome, file, h.c.Detail)
		}
		return h.failed(h.broken(claim.Outcome, file, schema.FailMissingArtifact), why)
	}
	if file := h.tampered(); file != "" {
		return h.failed(schema.FailInvalidArtifact, file+" is not what the judge wrote: it was changed while the checks ran")
	}
	for _, d := range h.seen.Invalid {
		if d.Severity != schema.Warning {
			return h.failed(h.broken(claim.Outcome, d.Path, schema.FailInvalidArtifact), d.String())
		}
	}
	if len(h.c.Outbox) > schema.MaxItems {
		return h.failed(schema.FailInvalidArtifact, fmt.Sprintf("%s/ holds more than %d files, and none of them was admitted", schema.OutboxFolder, schema.MaxItems))
	}
	if conflict := h.outbox(claim.Outcome); conflict != "" {
		return h.failed(schema.FailOutboxConflict, conflict)
	}
	due, passed := h.checks()
	return schema.Verdict{
		Outcome: claim.Outcome, Class: class, Message: schema.OneLine(claim.Message(), maxMessage), Metadata: claim.Metadata,
		ChecksRun: due, ChecksPassed: passed,
	}
}

// legalClasses are those an outcome may carry, the default first; nil for an illegal outcome.
func legalClasses(k *schema.StageKind, outcome string) []string {
	if classes := k.Outcomes[outcome]; len(classes) > 0 {
		return classes
	}
	if outcome == schema.OutcomeBlocked {
		return []string{schema.ClassBlocked, schema.ClassRecoverable}
	}
	return nil
}

// lacks names a file that the outcome needs and that is not there.
func (h *harvest) lacks(outcome string) string {
	for _, a := range h.kind.Writes {
		if a.NeededFor(outcome) && !slices.ContainsFunc(h.c.Artifacts, func(f schema.File) bool {
			return f.Path == a.File || strings.HasSuffix(a.File, "/") && strings.HasPrefix(f.Path, a.File)
		}) {
			return a.File
		}
	}
	return ""
}

// checks reports whether the item has checks, and whether each of them left a passing record after the
// stage. A check that should have been run and left none has not passed.
func (h *harvest) checks() (due, passed bool) {
	for _, c := range h.item.Checks {
		r := h.check(c.Name)
		if r == nil || !r.Passed {
			return true, false
		}
	}
	return len(h.item.Checks) > 0, true
}

func (h *harvest) check(name string) *schema.CheckRecord {
	for i := range h.c.ChecksAfter {
		if r := &h.c.ChecksAfter[i]; r.Name == name {
			return r
		}
	}
	return nil
}

// proven reports whether the checks that the outcome asks for have been run: a supervisor that was lost
// may not have come to them, and without them the outcome would be held to be false.
func (h *harvest) proven(outcome string) bool {
	if !slices.Contains(h.plan.ChecksAfter(h.run.Plane, h.run.Node), outcome) {
		return true
	}
	return !slices.ContainsFunc(h.item.Checks, func(c schema.Check) bool { return h.check(c.Name) == nil })
}
