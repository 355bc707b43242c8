package modelserver

import (
	"encoding/json"
	"strings"
)

// A turn is a piece of a conversation as all three APIs have it.
type turn struct {
	tool bool // a tool's result, not the user
	text string
}

// converse fills in what the user said last and what tools gave since.
func (c *Call) converse(turns []turn) {
	for _, t := range turns {
		switch {
		case t.tool:
			c.Results = append(c.Results, t.text)
		case !added(t.text):
			c.Prompt, c.Results = t.text, nil
		}
	}
}

// added tells what an agent says in the user's name.
func added(text string) bool {
	for _, tag := range []string{"<system-reminder>", "<environment_context>", "<turn_aborted>", "<user_instructions>"} {
		if strings.HasPrefix(strings.TrimSpace(text), tag) {
			return true
		}
	}
	return false
}

// A block is a part of a message's content. Which fields it has depends on its kind.
type block struct {
	Type    string  `json:"type"`
	Text    string  `json:"text"`
	Content content `json:"content"` // of a tool's result
}

// content is text, or a list of blocks.
type content []block

func (c *content) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*c = content{{Type: "text", Text: text}}
		return nil
	}
	var blocks []block
	if err := json.Unmarshal(data, &blocks); err != nil {
		*c = content{{Type: "text", Text: string(data)}} // what an agent makes of a strange result is shown as it is
		return nil
	}
	*c = blocks
	return nil
}

func (c content) text() string {
	var b strings.Builder
	for _, part := range c {
		b.WriteString(part.Text)
	}
	return b.String()
}

// ask is what requests for an answer have in common.
type ask struct {
	Model string `json:"model"`
	Tools []struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tools"`
}

func (a *ask) call(api string) Call {
	c := Call{API: api, Model: a.Model}
	for _, t := range a.Tools {
		switch {
		case t.Name != "":
			c.Tools = append(c.Tools, t.Name)
		case t.Function.Name != "":
			c.Tools = append(c.Tools, t.Function.Name)
		default:
			c.Tools = append(c.Tools, t.Type)
		}
	}
	return c
}
