package elasticsearch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// A field is the mapping of a field, as far as searches and dashboards depend on it.
type field struct {
	Type     string
	Analyzer string `json:",omitempty"`
	Fields   map[string]struct{ Type string }
}

// kind returns the type in words.
func (f field) kind() string {
	kind := cmp.Or(f.Type, "object")
	if f.Fields["keyword"].Type != "" {
		kind += " with keyword"
	}
	if f.Analyzer != "" {
		kind += " (analyzer " + f.Analyzer + ")"
	}
	return kind
}

// mappedUnder returns the filter_path for a response that has mappings at a path.
func mappedUnder(path string) []string {
	path += ".mappings.properties.*."
	return []string{path + "type", path + "analyzer", path + "fields.keyword.type", "error.type"}
}

// templateFields returns the fields of a record, as the index template maps them.
func templateFields() map[string]field {
	var own struct {
		Template struct {
			Mappings struct{ Properties map[string]field }
		}
	}
	if err := json.Unmarshal([]byte(templateJSON), &own); err != nil {
		panic(fmt.Sprintf("elasticsearch: the embedded index template: %v", err)) // tests read it
	}
	return own.Template.Mappings.Properties
}

// misfits returns the fields that are not mapped as in the index template, in words and in the
// order of their names.
func misfits(got map[string]field) []string {
	want := templateFields()
	var found []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		f, there := got[name]
		switch {
		case !there:
			found = append(found, name+" is not mapped")
		case f.kind() != want[name].kind():
			found = append(found, fmt.Sprintf("%s is %s and not %s", name, f.kind(), want[name].kind()))
		}
	}
	return found
}

// stepMapping is the step of a connectivity check that only this sink has.
const stepMapping = "mapping"

// probeMapping compares the mapping of the data stream with that of the index template, if the
// credentials may see it. A difference does not prevent writing; it breaks searches and dashboards.
func (s *Sink) probeMapping(ctx context.Context, m member) {
	quiet := probe.Quiet(ctx)
	tell := func(result string, format string, values ...any) {
		probe.From(ctx).Report(probe.Step{Name: stepMapping, Result: result, Facts: []string{fmt.Sprintf(format, values...)}})
	}
	var buffer bytes.Buffer
	got, _, err := s.ask(quiet, m.client, request{doing: "look at the mapping",
		api: esapi.IndicesGetMappingRequest{Index: []string{url.PathEscape(s.options.DataStream)}, FilterPath: mappedUnder("*")}}, &buffer)
	switch {
	case err != nil:
		tell(probe.ResultNotTried, "the mapping could not be read")
	case got.status == http.StatusForbidden:
		tell(probe.ResultNotTried, "the credentials may not see how the fields are mapped, so it was not compared: that needs the index privilege view_index_metadata")
	case got.status == http.StatusNotFound && s.options.ManageTemplate:
		tell(probe.ResultOK, "the data stream %s is not there yet: ttydrain installs its index template before the first record", s.options.DataStream)
	case got.status == http.StatusNotFound:
		s.probeTemplate(ctx, m)
	case got.status != http.StatusOK:
		tell(probe.ResultNotTried, "%s answered %d to the question how the fields are mapped", s.products(), got.status)
	default:
		probe.From(ctx).Report(s.mappingStep(got.body))
	}
}

// mappingStep returns the step for the mappings of a data stream's backing indexes.
func (s *Sink) mappingStep(answer []byte) probe.Step {
	step := probe.Step{Name: stepMapping, Result: probe.ResultOK}
	var indexes map[string]struct {
		Mappings struct{ Properties map[string]field }
	}
	if json.Unmarshal(answer, &indexes) != nil {
		step.Result, step.Facts = probe.ResultNotTried, []string{"the answer to the question how the fields are mapped is not JSON of the expected form"}
		return step
	}
	if len(indexes) == 0 { // filter_path leaves nothing of an index without fields
		return s.wrongMapping("the data stream "+s.options.DataStream+" has no fields mapped", nil)
	}
	// The number at the end of a backing index's name grows with each rollover: the last one is
	// written to.
	names := slices.SortedFunc(maps.Keys(indexes), func(a, b string) int { return cmp.Compare(generation(a), generation(b)) })
	last := names[len(names)-1]
	if wrong := misfits(indexes[last].Mappings.Properties); len(wrong) > 0 {
		return s.wrongMapping("the data stream "+s.options.DataStream+" maps fields otherwise than ttydrain's index template", wrong)
	}
	step.Facts = []string{fmt.Sprintf("the data stream %s maps all %d fields of a record as ttydrain's index template does", s.options.DataStream, len(templateFields()))}
	old := 0
	for _, name := range names[:len(names)-1] {
		if len(misfits(indexes[name].Mappings.Properties)) > 0 {
			old++
		}
	}
	if old > 0 {
		step.Facts = append(step.Facts, fmt.Sprintf("%d of its older indexes map some otherwise, as they were made: searches that need these fields miss what is in there", old))
	}
	return step
}

func generation(index string) string { return index[strings.LastIndexByte(index, '-')+1:] }

// probeTemplate asks how the data stream would map fields if it were created now, for drains that
// install no template.
func (s *Sink) probeTemplate(ctx context.Context, m member) {
	var buffer bytes.Buffer
	got, _, err := s.ask(probe.Quiet(ctx), m.client, request{doing: "look at the index templates",
		api: esapi.IndicesSimulateIndexTemplateRequest{Name: url.PathEscape(s.options.DataStream), FilterPath: mappedUnder("template")}}, &buffer)
	var simulated struct {
		Template struct {
			Mappings struct{ Properties map[string]field }
		}
	}
	step := probe.Step{Name: stepMapping, Result: probe.ResultNotTried,
		Facts: []string{"the data stream " + s.options.DataStream + " is not there yet, and the credentials may not see which index template it will have"}}
	if err == nil && got.status == http.StatusOK && json.Unmarshal(got.body, &simulated) == nil {
		step.Result, step.Facts[0] = probe.ResultOK, "the data stream "+s.options.DataStream+" is not there yet: an index template that maps all fields of a record is"
		if wrong := misfits(simulated.Template.Mappings.Properties); len(wrong) > 0 {
			step = s.wrongMapping("the data stream "+s.options.DataStream+" is not there yet, and no index template of ttydrain is for it", nil)
		}
	}
	probe.From(ctx).Report(step)
}

// wrongMapping returns the step of a data stream that does not map fields as it should.
func (s *Sink) wrongMapping(what string, wrong []string) probe.Step {
	const most = 4
	if len(wrong) > 0 {
		what += ": " + strings.Join(wrong[:min(most, len(wrong))], ", ")
	}
	if len(wrong) > most {
		what += fmt.Sprintf(", and %d more", len(wrong)-most)
	}
	return probe.Step{Name: stepMapping, Result: probe.ResultWarning,
		Problem: what + ". Records are taken; searches and dashboards miss what they need",
		Do: "install the index template (ttydrain schema elasticsearch --data-stream " + s.options.DataStream + productFlag(s.known()) +
			"), and roll the data stream over if it exists (POST /" + s.options.DataStream + "/_rollover)"}
}

// productFlag returns the flag of the command that prints the template.
func productFlag(o Options) string {
	if o.Product == OpenSearch {
		return " --product opensearch"
	}
	return ""
}
