package replay

import (
	"strings"
	"testing"
)

func TestParseSearchURL(t *testing.T) {
	for _, test := range []struct{ text, cluster, index, refusal string }{
		{"https://es.example.com:9200/logs-ssh-default", "https://es.example.com:9200", "logs-ssh-default", ""},
		{"http://127.0.0.1:9200/behind/a/proxy/logs", "http://127.0.0.1:9200/behind/a/proxy", "logs", ""},
		{"https://es.example.com/logs-a,logs-b", "https://es.example.com", "logs-a,logs-b", ""},
		{"https://es.example.com:9200", "", "", "has to end with the drain's data stream"},
		{"https://es.example.com:9200/logs/", "", "", "has to end with the drain's data stream"},
		{"https://es.example.com:9200/logs?pretty", "", "", "has to end with the drain's data stream"},
		{"https:///logs", "", "", "has to end with the drain's data stream"},
		{"https://ada:secret@es.example.com/logs", "", "", "has credentials in it"},
		{"https://ada:secret%zz@es.example.com/logs", "", "", "is not understood"},
	} {
		cluster, index, err := ParseSearchURL(test.text)
		if cluster != test.cluster || index != test.index || (err == nil) != (test.refusal == "") {
			t.Errorf("%s: %q, %q, %v", test.text, cluster, index, err)
		}
		if err != nil && (!strings.Contains(err.Error(), test.refusal) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", test.text, err)
		}
	}
}
