package schema

import _ "embed" // the definitions are part of the program

// WorkflowCUE holds the CUE definitions of stage kinds, families, graphs and modes.
//
//go:embed workflow.cue
var WorkflowCUE []byte

// ConfigCUE holds the CUE definition of the configuration.
//
//go:embed config.cue
var ConfigCUE []byte
