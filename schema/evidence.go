package schema

// Evidence is what the judge of a lineage is shown of it: evidence_window.json. What is newer than what is told by
// journal records, never by a clock.
type Evidence struct {
	SchemaVersion int            `json:"schema_version"`
	Target        string         `json:"closure_target_id"`
	RootSpecID    string         `json:"root_spec_id"`
	Generation    int            `json:"generation"`           // of the target: how often the root was opened
	Seq           uint64         `json:"seq"`                  // journal record that this was written in
	Judged        uint64         `json:"judged_seq,omitempty"` // journal record of the verdict before, of whichever generation
	Contract      []File         `json:"contract"`             // root spec and idea as they were when the target opened, below the workspace folder
	Checks        []Check        `json:"checks,omitempty"`     // of the whole lineage: the runtime runs them before the judge begins
	Items         []EvidenceItem `json:"items"`                // of the lineage, what ended last first
}

// An EvidenceItem is one item of a lineage with what its last run came to.
type EvidenceItem struct {
	Item       Key              `json:"item"`
	Title      string           `json:"title,omitempty"`
	State      string           `json:"state"`
	Path       string           `json:"path"` // of its document, below the workspace folder
	Generation int              `json:"generation"`
	Run        string           `json:"run,omitempty"` // its last
	End        string           `json:"end,omitempty"` // terminal that the run reached
	EndedSeq   uint64           `json:"ended_seq,omitempty"`
	Newer      bool             `json:"newer,omitempty"`    // ended since the verdict before; true when there is none
	Trace      string           `json:"trace,omitempty"`    // file that tells the whole run, below the workspace folder
	Withheld   string           `json:"withheld,omitempty"` // why the results are not listed here
	Results    []EvidenceResult `json:"results,omitempty"`
}

// An EvidenceResult is what one stage of the run ended with.
type EvidenceResult struct {
	Request   string            `json:"request"`
	Node      string            `json:"node"`
	Stage     string            `json:"stage"`
	Outcome   string            `json:"outcome"`
	Failure   string            `json:"failure_class,omitempty"`
	Message   string            `json:"message,omitempty"`
	Artifacts map[string]Digest `json:"artifacts,omitempty"` // by file, in the request's folder
}
