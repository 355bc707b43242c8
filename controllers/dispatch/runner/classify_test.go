package runner

import (
	"testing"

	"millrace/schema"
)

// What agents have been seen to say of providers that failed, and of work that did not.
func TestTextClass(t *testing.T) {
	for text, want := range map[string]string{
		"unexpected status 401 Unauthorized: bad key":                         schema.FailAuth,
		"exceeded retry limit, last status: 429 Too Many Requests":            schema.FailRateLimited,
		"API Error: 529 {\"type\":\"error\"} status 529":                      schema.FailProvider,
		"Request failed with status code 503":                                 schema.FailProvider,
		"Invalid API key · Please run /login":                                 schema.FailAuth,
		"connect ECONNREFUSED 127.0.0.1:9":                                    schema.FailNetwork,
		"getaddrinfo ENOTFOUND api.example.invalid":                           schema.FailNetwork,
		"You've hit your usage limit.":                                        schema.FailRateLimited,
		"error sending request for url (http://127.0.0.1:9/v1/responses)":     schema.FailNetwork,
		"the test expected 500 lines and got 401 of them":                     "",
		"Model metadata for `mock-model` not found. Defaulting to something.": "",
		"status code 404": "",
	} {
		if got := textClass(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}

func TestStatusClass(t *testing.T) {
	for status, want := range map[int]string{200: "", 400: "", 404: "", 401: schema.FailAuth, 403: schema.FailAuth,
		429: schema.FailRateLimited, 500: schema.FailProvider, 529: schema.FailProvider, 600: ""} {
		if got := statusClass(status); got != want {
			t.Errorf("%d is %q, not %q", status, got, want)
		}
	}
}
