package schema

// An Adapter is what is known of a kind of agent without running it: who compiles, dispatches or looks after a
// machine asks here. How the agent is run is the business of the adapter of the same name beside the supervisor.
type Adapter struct {
	Name      string
	Program   string   // found in PATH unless a runner names another; "": the runner says what to run
	Package   string   // npm package that brings it
	Oldest    string   // versions it was tested with, from …
	Newest    string   // … to
	Keys      []string // environment variables that it reads a key from
	Folder    string   // environment variable that names the folder where it keeps its login and what it remembers
	Home      string   // that folder when the variable is not set, below the user's home
	Login     string   // file in it that a stored login leaves; "": none
	OverLogin int      // so many of its Keys, from the first, count more than a stored login
	Thinking  []string // levels it has, weakest first
	Turns     bool     // max_turns is kept
	Cost      bool     // it reports what it cost
}

// adapters are the known ones. The versions are those that the tests against the real programs pin.
var adapters = []Adapter{
	{Name: "claude_code", Program: "claude", Package: "@anthropic-ai/claude-code", Oldest: "2.1.197", Newest: "2.1.330",
		Keys: []string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"}, OverLogin: 3,
		Folder: "CLAUDE_CONFIG_DIR", Home: ".claude", Login: ".credentials.json",
		Thinking: []string{"low", "medium", "high", "xhigh", "max"}, Turns: true, Cost: true},
	{Name: "codex_cli", Program: "codex", Package: "@openai/codex", Oldest: "0.169.0", Newest: "0.169.0",
		Keys: []string{"CODEX_API_KEY", "OPENAI_API_KEY"}, OverLogin: 1, Folder: "CODEX_HOME", Home: ".codex", Login: "auth.json",
		Thinking: []string{"none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"}},
	{Name: "command"},
	{Name: "pi_rpc", Program: "pi", Package: "@mariozechner/pi-coding-agent", Oldest: "0.73.1", Newest: "0.73.1",
		Keys: piKeys, Folder: "PI_CODING_AGENT_DIR", Home: ".pi/agent", Login: "auth.json",
		Thinking: []string{"off", "minimal", "low", "medium", "high", "xhigh"}, Cost: true},
}

// piKeys are the variables that pi takes for keys of its many providers, but for GH_TOKEN and GITHUB_TOKEN, which mostly
// are there for git.
var piKeys = []string{"ANTHROPIC_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "DEEPSEEK_API_KEY",
	"GEMINI_API_KEY", "GOOGLE_CLOUD_API_KEY", "GROQ_API_KEY", "CEREBRAS_API_KEY", "XAI_API_KEY", "FIREWORKS_API_KEY", "OPENROUTER_API_KEY",
	"AI_GATEWAY_API_KEY", "ZAI_API_KEY", "MISTRAL_API_KEY", "MINIMAX_API_KEY", "MINIMAX_CN_API_KEY", "MOONSHOT_API_KEY", "OPENCODE_API_KEY",
	"KIMI_API_KEY", "CLOUDFLARE_API_KEY", "XIAOMI_API_KEY", "XIAOMI_TOKEN_PLAN_CN_API_KEY", "XIAOMI_TOKEN_PLAN_AMS_API_KEY",
	"XIAOMI_TOKEN_PLAN_SGP_API_KEY", "COPILOT_GITHUB_TOKEN", "HF_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
	"AWS_PROFILE"}

// AdapterOf is the adapter of a name; nil when there is none.
func AdapterOf(name string) *Adapter {
	for i := range adapters {
		if adapters[i].Name == name {
			return &adapters[i]
		}
	}
	return nil
}

// AdapterNames are the names of the adapters that there are, sorted.
func AdapterNames() []string {
	names := make([]string, len(adapters))
	for i, a := range adapters {
		names[i] = a.Name
	}
	return names
}
