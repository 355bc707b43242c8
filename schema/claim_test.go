package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var legalOutcomes = []string{"BLOCKED", "BUILDER_COMPLETE"}

func TestDetectClaim(t *testing.T) {
	file := func(outcome string) string {
		return fmt.Sprintf(`{"stage":"builder","terminal_result":%q}`, outcome)
	}
	tests := []struct {
		name, terminal, final      string
		outcome, class, mustDetail string
	}{
		{"marker", "", "done\n### BUILDER_COMPLETE\n", "BUILDER_COMPLETE", "", ""},
		{"marker without line feed", "", "### BLOCKED", "BLOCKED", "", ""},
		{"marker with CRLF and blanks", "", "###   BLOCKED  \r\n", "BLOCKED", "", ""},
		{"the same marker twice", "", "### BLOCKED\ntext\n### BLOCKED\n", "BLOCKED", "", ""},
		{"nothing", "", "all is well\n", "", FailMissingOutcome, "BUILDER_COMPLETE"},
		{"empty", "", "", "", FailMissingOutcome, "no line"},
		{"a heading is no marker", "", "### Summary\n#### BLOCKED\n## BLOCKED\n### BLOCKED now\n###BLOCKED\n", "", FailMissingOutcome, ""},
		{"within a line", "", "I end with ### BLOCKED\n", "", FailMissingOutcome, ""},
		{"indented code", "", "    ### BLOCKED\n", "", FailMissingOutcome, ""},
		{"fenced", "", "```\n### BLOCKED\n```\n### BUILDER_COMPLETE\n", "BUILDER_COMPLETE", "", ""},
		{"fenced with tildes and info", "", "~~~text\n### BLOCKED\n```\n### BLOCKED\n~~~\n", "", FailMissingOutcome, ""},
		{"longer fence", "", "````\n```\n### BLOCKED\n````\n### BUILDER_COMPLETE", "BUILDER_COMPLETE", "", ""},
		{"fence never closed", "", "```\n### BLOCKED\n", "", FailMissingOutcome, ""},
		{"code within a line opens nothing", "", "```x``` is code\n### BLOCKED\n", "BLOCKED", "", ""},
		{"two markers", "", "### BLOCKED\n### BUILDER_COMPLETE\n", "", FailConflicting, "BLOCKED, BUILDER_COMPLETE"},
		{"one legal, one not", "", "### BLOCKED\n### DONE\n", "", FailConflicting, "DONE"},
		{"illegal marker", "", "### CHECKER_PASS\n", "", FailIllegalOutcome, "CHECKER_PASS"},

		{"file", file("BLOCKED"), "", "BLOCKED", "", ""},
		{"file and equal marker", file("BLOCKED"), "### BLOCKED\n", "BLOCKED", "", ""},
		{"file and other marker", file("BLOCKED"), "### BUILDER_COMPLETE\n", "", FailConflicting, "BUILDER_COMPLETE"},
		{"file and illegal marker", file("BLOCKED"), "### DONE\n", "", FailConflicting, "DONE"},
		{"illegal file", file("DONE"), "", "", FailIllegalOutcome, "DONE"},
		{"file of another stage", `{"stage":"checker","terminal_result":"BLOCKED"}`, "### BLOCKED\n", "", FailIllegalOutcome, "checker"},
		{"file of this request", `{"request":"req-1","stage":"builder","terminal_result":"BLOCKED"}`, "", "BLOCKED", "", ""},
		{"file of another request", `{"request":"req-0","stage":"builder","terminal_result":"BLOCKED"}`, "### BUILDER_COMPLETE", "BUILDER_COMPLETE", "", ""},
		{"only a file of another request", `{"request":"req-0","stage":"builder","terminal_result":"BLOCKED"}`, "", "", FailMissingOutcome, "req-0"},
		{"half a file", `{"stage":"builder","terminal_`, "### BLOCKED\n", "", FailIllegalOutcome, "JSON"},
		{"file without outcome", `{"stage":"builder"}`, "", "", FailIllegalOutcome, "terminal_result"},
		{"wrong types", `{"stage":"builder","terminal_result":7}`, "", "", FailIllegalOutcome, "terminal_result"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var terminal []byte
			if tt.terminal != "" {
				terminal = []byte(tt.terminal)
			}
			claim, class, detail := DetectClaim("builder", legalOutcomes, "req-1", terminal, tt.final)
			got := ""
			if claim != nil {
				got = claim.Outcome
			}
			if got != tt.outcome || class != tt.class || !strings.Contains(detail, tt.mustDetail) {
				t.Errorf("got %q, %q, %q; want %q, %q, detail with %q", got, class, detail, tt.outcome, tt.class, tt.mustDetail)
			}
			if (claim == nil) != (class != "") || (class == "") != (detail == "") {
				t.Errorf("claim %v, class %q, detail %q do not fit together", claim, class, detail)
			}
		})
	}
}

func TestDetectClaimEmptyFileIsBroken(t *testing.T) {
	if _, class, _ := DetectClaim("builder", legalOutcomes, "req-1", []byte{}, "### BLOCKED"); class != FailIllegalOutcome {
		t.Errorf("class %q: an empty file is present, and not usable", class)
	}
}

func TestDetectClaimKeepsWhatTheFileSays(t *testing.T) {
	terminal := `{"stage":"builder","terminal_result":"BLOCKED","result_class":"recoverable_failure",
		"summary_artifact_paths":["summary.md"],"metadata":{"resume_stage":"checker"}}`
	claim, _, detail := DetectClaim("builder", legalOutcomes, "req-1", []byte(terminal), "")
	want := &Claim{Outcome: "BLOCKED", Class: "recoverable_failure", Summaries: []string{"summary.md"},
		Metadata: map[string]any{"resume_stage": "checker"}, Source: TerminalFile}
	if !reflect.DeepEqual(claim, want) {
		t.Errorf("got %+v (%s), want %+v", claim, detail, want)
	}
}

// Who ends blocked is asked why: what the file says counts, else the paragraph before the marker, else what there is.
func TestABlockedClaimSaysWhy(t *testing.T) {
	long := strings.Repeat("because ", 200)
	for name, tt := range map[string]struct{ terminal, final, want string }{
		"the paragraph before":        {"", "I looked.\n\nThe database\nis not there.\n\n### BLOCKED\n", "The database is not there."},
		"no blank line between":       {"", "I looked.\n\nIt is locked.\n### BLOCKED", "It is locked."},
		"after the marker":            {"", "### BLOCKED\n\nThe key is missing.\n", "The key is missing."},
		"before outweighs after":      {"", "No key.\n\n### BLOCKED\n\nBye.\n", "No key."},
		"before the last marker":      {"", "First.\n\n### BLOCKED\n\nSecond.\n\n### BLOCKED\n", "Second."},
		"within a fence":              {"", "It says\n```\nE: locked\n```\n### BLOCKED\n", "It says E: locked"},
		"quoted":                      {"", "> No key.\n\n### BLOCKED\n", "No key."},
		"control characters":          {"", "a\x1b]0;x\x07b\x00c\td \u202e\xff\r\n\r\n### BLOCKED\r\n", "a]0;xbc d"},
		"long":                        {"", long + "\n\n### BLOCKED\n", long[:maxReason-len(cutMark)] + cutMark},
		"many short lines":            {"", strings.Repeat("because\n", 200) + "### BLOCKED\n", long[:maxReason-len(cutMark)] + cutMark},
		"nothing said":                {"", "### BLOCKED\n", ""},
		"the file says it":            {`{"stage":"builder","terminal_result":"BLOCKED","metadata":{"reason":"mine"}}`, "other\n\n### BLOCKED\n", "mine"},
		"the file does not":           {`{"stage":"builder","terminal_result":"BLOCKED","metadata":{"message":""}}`, "The disk is full.\n", "The disk is full."},
		"who is not blocked is not":   {"", "All done.\n\n### BUILDER_COMPLETE\n", ""},
		"a marker's look-alike stays": {"", "### BLOCKED now\n\n### BLOCKED\n", "### BLOCKED now"},
	} {
		var terminal []byte
		if tt.terminal != "" {
			terminal = []byte(tt.terminal)
		}
		claim, _, detail := DetectClaim("builder", legalOutcomes, "req-1", terminal, tt.final)
		if claim == nil || claim.Message() != strings.TrimSpace(tt.want) {
			t.Errorf("%s: %+v (%s), want %q", name, claim, detail, tt.want)
		}
	}
}

func TestMarkersDoNotGrow(t *testing.T) {
	var m Markers
	long := []byte(strings.Repeat("x", 1<<20))
	for range 20 {
		_, _ = m.Write(long) // one endless line
	}
	_, _ = m.Write([]byte("\n### BLOCKED" + strings.Repeat(" ", 2*maxMarkerLine) + "\n"))
	for i := range 100 {
		fmt.Fprintf(&m, "### TOKEN_%d\n", i)
	}
	for range 1000 {
		_, _ = m.Write([]byte("a paragraph without an end\n"))
	}
	if len(m.said) > 3*maxReason {
		t.Errorf("%d bytes of a paragraph", len(m.said))
	}
	if len(m.line) > maxMarkerLine || len(m.Found()) != maxMarkers {
		t.Errorf("%d bytes of a line, %d markers", len(m.line), len(m.Found()))
	}
}

// However a text is cut into pieces, the same markers are found; and a claim is legal or there is none.
func FuzzDetectClaim(f *testing.F) {
	f.Add([]byte(`{"stage":"builder","terminal_result":"BLOCKED"}`), "### BLOCKED\n", uint8(3))
	f.Add([]byte(nil), "```\n### BLOCKED\n```\n### BUILDER_COMPLETE\r\n", uint8(1))
	f.Add([]byte(`{`), "~~~\n### A", uint8(7))
	f.Add([]byte(`{"metadata":{"a":[1,{"b":null}]}}`), "### \xff\n\x00", uint8(0))
	f.Fuzz(func(t *testing.T, terminal []byte, final string, cut uint8) {
		claim, class, detail := DetectClaim("builder", legalOutcomes, "req-1", terminal, final)
		if (claim == nil) != (class != "") || (class == "") != (detail == "") {
			t.Fatalf("claim %v, class %q, detail %q do not fit together", claim, class, detail)
		}
		if claim != nil && claim.Outcome != "BLOCKED" && claim.Outcome != "BUILDER_COMPLETE" {
			t.Fatalf("illegal claim %q", claim.Outcome)
		}
		var whole, pieces Markers
		_, _ = whole.Write([]byte(final))
		for rest := []byte(final); len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		var short Markers
		_, _ = short.Write([]byte(whole.Text()))
		if !slices.Equal(short.Found(), whole.Found()) || short.Reason() != whole.Reason() || pieces.Reason() != whole.Reason() {
			t.Fatalf("its text %q says %q because %q, it says %q because %q, in pieces %q", whole.Text(), short.Found(), short.Reason(), whole.Found(), whole.Reason(), pieces.Reason())
		}
		if got, want := pieces.Found(), whole.Found(); !reflect.DeepEqual(got, want) {
			t.Fatalf("in pieces of %d: %q, at once: %q", int(cut)+1, got, want)
		}
	})
}
