package dashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

type kibanaReference struct{ Type, ID, Name string }

type kibanaObject struct {
	Type, ID                                   string
	CoreMigrationVersion, TypeMigrationVersion string
	Attributes                                 json.RawMessage
	References                                 []kibanaReference
}

type kibanaQuery struct{ Query, Language string }

type kibanaView struct {
	Title, Name, TimeFieldName                                                   string
	FieldAttrs, Fields, RuntimeFieldMap, TypeMeta, SourceFilters, FieldFormatMap string
}

type kibanaSearch struct {
	Title, Description    string
	Columns               []string
	Sort                  [][2]string
	HideChart             bool
	Grid                  struct{}
	Version               int
	KibanaSavedObjectMeta struct{ SearchSourceJSON string }
}

type kibanaSource struct {
	HighlightAll, Version bool
	Query                 kibanaQuery
	Filter                []kibanaFilter
	IndexRefName          string
}

type kibanaFilter struct {
	State struct{ Store string } `json:"$state"`
	Meta  struct {
		Alias, Type, Key, Value, IndexRefName string
		Disabled, Negate                      bool
	}
	Query json.RawMessage
}

type kibanaDashboard struct {
	Title, Description string
	Version            int
	TimeRestore        bool
	TimeFrom, TimeTo   string
	RefreshInterval    struct {
		Pause bool
		Value int
	}
	OptionsJSON, PanelsJSON string
	ControlGroupInput       struct{ ControlStyle, ChainingSystem, PanelsJSON, IgnoreParentSettingsJSON string }
	KibanaSavedObjectMeta   struct{ SearchSourceJSON string }
}

type kibanaControl struct {
	Order         int
	Width, Type   string
	Grow          bool
	ExplicitInput struct {
		ID, Title, FieldName string
		Enhancements         struct{}
	}
}

type kibanaPanel struct {
	Version, Type, Title, PanelIndex, PanelRefName string
	GridData                                       struct {
		X, Y, W, H int
		I          string
	}
	EmbeddableConfig struct {
		Attributes      *kibanaLens
		HidePanelTitles bool
		Enhancements    struct{}
	}
}

type kibanaLens struct {
	Title, Description, VisualizationType, Type string
	References                                  []kibanaReference
	State                                       struct {
		Visualization    json.RawMessage // see lensKinds
		Query            kibanaQuery
		Filters          []struct{}
		DatasourceStates struct {
			FormBased struct{ Layers map[string]lensLayer }
			TextBased struct{ Layers struct{} }
		}
		InternalReferences []struct{}
		AdHocDataViews     struct{}
	}
}

type lensLayer struct {
	Columns           map[string]lensColumn
	ColumnOrder       []string
	IncompleteColumns struct{}
}

type lensColumn struct {
	Label, DataType, OperationType, SourceField, Scale string
	CustomLabel, IsBucketed                            bool
	Params                                             struct {
		Interval                       string
		IncludeEmptyRows, DropPartials bool
		Size                           int
		OrderBy                        struct{ Type, ColumnID string }
		OrderDirection                 string
		OtherBucket, MissingBucket     bool
		ParentFormat                   struct{ ID string }
		Include, Exclude               []string
		IncludeIsRegex, ExcludeIsRegex bool
		EmptyAsNull                    bool
		Format                         struct {
			ID     string
			Params struct{ Decimals int }
		}
	}
}

// lensVisualization has the settings that the kinds of charts share.
type lensVisualization struct {
	LayerID, LayerType, MetricAccessor string // of lnsMetric, and the first two of lnsDatatable
	Columns                            []struct{ ColumnID string }
	RowHeight                          string
	RowHeightLines                     int
	Sorting                            struct{ ColumnID, Direction string }

	Legend struct {
		IsVisible, ShowSingleSeries bool
		Position                    string
	} // from here on of lnsXY
	ValueLabels, FittingFunction, PreferredSeriesType                                       string
	AxisTitlesVisibilitySettings, TickLabelsVisibilitySettings, GridlinesVisibilitySettings struct{ X, YLeft, YRight bool }
	LabelsOrientation                                                                       struct{ X, YLeft, YRight int }
	Layers                                                                                  []struct {
		LayerID, LayerType, SeriesType, XAccessor, SplitAccessor string
		Accessors                                                []string
	}
}

// A kibanaReader has the objects of an export.
type kibanaReader struct {
	shown    Range
	objects  map[kibanaReference]*kibanaObject // by type and ID
	filters  []any                             // of the dashboard
	filtered []string                          // the fields of these
}

// Kibana reads saved objects in NDJSON, of which one is a dashboard.
func Kibana(data []byte, shown Range) ([]Panel, error) {
	r := &kibanaReader{shown: shown, objects: make(map[kibanaReference]*kibanaObject)}
	var dashboard *kibanaObject
	for line := range bytes.Lines(data) {
		var o kibanaObject
		if err := strict(line, &o); err != nil {
			return nil, fmt.Errorf("read an object: %w", err)
		}
		if o.CoreMigrationVersion == "" || o.TypeMigrationVersion == "" { // Kibana would take it for one of its first version
			return nil, fmt.Errorf("the object %s does not say of which version of Kibana it is", o.ID)
		}
		r.objects[kibanaReference{Type: o.Type, ID: o.ID}] = &o
		if o.Type == "dashboard" {
			dashboard = &o
		}
	}
	for _, o := range r.objects {
		for _, ref := range o.References {
			if r.objects[kibanaReference{Type: ref.Type, ID: ref.ID}] == nil {
				return nil, fmt.Errorf("the object %s needs %+v, which is not there", o.ID, ref)
			}
		}
	}
	if dashboard == nil {
		return nil, fmt.Errorf("there is no dashboard")
	}
	return r.dashboard(dashboard)
}

// index is the pattern of the data view that a reference of an object names.
func (r *kibanaReader) index(references []kibanaReference, name string) (string, error) {
	i := slices.IndexFunc(references, func(ref kibanaReference) bool { return ref.Name == name && ref.Type == "index-pattern" })
	if i < 0 {
		return "", fmt.Errorf("there is no reference %s", name)
	}
	var view kibanaView
	if err := strict(r.objects[kibanaReference{Type: "index-pattern", ID: references[i].ID}].Attributes, &view); err != nil {
		return "", fmt.Errorf("the data view %s: %w", references[i].ID, err)
	}
	if view.TimeFieldName != timeField {
		return "", fmt.Errorf("the data view %s has the time field %q", references[i].ID, view.TimeFieldName)
	}
	return view.Title, nil
}

func (r *kibanaReader) dashboard(o *kibanaObject) ([]Panel, error) {
	var d kibanaDashboard
	if err := strict(o.Attributes, &d); err != nil {
		return nil, fmt.Errorf("the dashboard: %w", err)
	}
	var source kibanaSource
	if err := strict([]byte(d.KibanaSavedObjectMeta.SearchSourceJSON), &source); err != nil || source.Query.Query != "" {
		return nil, fmt.Errorf("the dashboard's filters: %w, query %q", err, source.Query.Query)
	}
	for _, f := range source.Filter {
		var query struct {
			Bool struct {
				MustNot struct{ Prefix map[string]string } `json:"must_not"`
			}
		}
		if err := strict(f.Query, &query); err != nil || f.Meta.Disabled || f.Meta.Negate || f.Meta.Value != string(f.Query) {
			return nil, fmt.Errorf("the dashboard's filter %s is not understood: %+v, %v", f.Meta.Alias, f, err)
		}
		if _, err := r.index(o.References, f.Meta.IndexRefName); err != nil {
			return nil, err
		}
		r.filters = append(r.filters, f.Query)
		for field := range query.Bool.MustNot.Prefix {
			r.filtered = append(r.filtered, field)
		}
	}
	panels, err := r.controls(o, []byte(d.ControlGroupInput.PanelsJSON))
	if err != nil {
		return nil, err
	}
	var list []kibanaPanel
	if err := strict([]byte(d.PanelsJSON), &list); err != nil {
		return nil, fmt.Errorf("the dashboard's panels: %w", err)
	}
	g := grid{width: 48}
	for _, p := range list {
		if p.GridData.I != p.PanelIndex {
			return nil, fmt.Errorf("panel %s: its place is that of panel %s", p.Title, p.GridData.I)
		}
		if err := g.place(p.Title, p.GridData.X, p.GridData.Y, p.GridData.W, p.GridData.H); err != nil {
			return nil, err
		}
		panel := &Panel{Title: p.Title}
		switch {
		case p.Type == "search":
			err = r.search(o, &p, panel)
		case p.Type == "lens" && p.EmbeddableConfig.Attributes != nil:
			if panel.Index, err = r.index(o.References, p.PanelIndex+":"+lensReference); err == nil {
				err = r.lens(p.EmbeddableConfig.Attributes, panel)
			}
		default:
			err = fmt.Errorf("the type %s is not understood", p.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.Title, err)
		}
		panels = append(panels, *panel)
	}
	return panels, nil
}

// query is the search for what a query in the language of Lucene and the dashboard's filters leave.
func (r *kibanaReader) query(p *Panel, q kibanaQuery) error {
	filters := append([]any{r.shown.inRange()}, r.filters...)
	p.Fields = append(append(p.Fields, timeField), r.filtered...)
	if q.Query != "" {
		if q.Language != "lucene" {
			return fmt.Errorf("the query %q is in the language %q", q.Query, q.Language)
		}
		filters = append(filters, lucene(q.Query))
		p.Fields = append(p.Fields, fieldsOf(q.Query)...)
	}
	p.Body = map[string]any{"size": 0, "track_total_hits": true, "query": map[string]any{"bool": map[string]any{"filter": filters}}}
	return nil
}

func (r *kibanaReader) controls(o *kibanaObject, data []byte) (panels []Panel, err error) {
	var controls map[string]kibanaControl
	if err := strict(data, &controls); err != nil {
		return nil, fmt.Errorf("the dashboard's controls: %w", err)
	}
	for id, c := range controls {
		p := Panel{Title: "choose " + c.ExplicitInput.Title, buckets: []bucket{{name: "suggestions"}}, metrics: []string{}}
		if c.Type != "optionsListControl" || c.ExplicitInput.ID != id {
			return nil, fmt.Errorf("the control %s is not understood", id)
		}
		if p.Index, err = r.index(o.References, "controlGroup_"+id+":optionsListDataView"); err != nil {
			return nil, err
		}
		if err := r.query(&p, kibanaQuery{}); err != nil {
			return nil, err
		}
		p.Fields = append(p.Fields, c.ExplicitInput.FieldName)
		p.Body["aggs"] = map[string]any{"suggestions": map[string]any{"terms": map[string]any{"field": c.ExplicitInput.FieldName, "size": 10}}}
		panels = append(panels, p)
	}
	return panels, nil
}

func (r *kibanaReader) search(o *kibanaObject, p *kibanaPanel, panel *Panel) error {
	i := slices.IndexFunc(o.References, func(ref kibanaReference) bool { return ref.Name == p.PanelIndex+":"+p.PanelRefName })
	if i < 0 {
		return fmt.Errorf("there is no reference %s", p.PanelRefName)
	}
	saved := r.objects[kibanaReference{Type: "search", ID: o.References[i].ID}]
	var s kibanaSearch
	var source kibanaSource
	if saved == nil {
		return fmt.Errorf("%s is no search", o.References[i].ID)
	}
	if err := strict(saved.Attributes, &s); err != nil {
		return err
	}
	if err := strict([]byte(s.KibanaSavedObjectMeta.SearchSourceJSON), &source); err != nil {
		return err
	}
	if len(source.Filter) > 0 || len(s.Sort) != 1 || s.Sort[0] != [2]string{timeField, "desc"} {
		return fmt.Errorf("its filters or its order are not understood")
	}
	var err error
	if panel.Index, err = r.index(saved.References, source.IndexRefName); err != nil {
		return err
	}
	if err := r.query(panel, source.Query); err != nil {
		return err
	}
	panel.list(s.Columns, 500)
	return nil
}

const (
	lensLayerName = "layer"
	lensReference = "indexpattern-datasource-layer-" + lensLayerName
)

// lens makes the request as Lens does: the buckets inside of each other in the order of the
// columns, and the metrics innermost.
func (r *kibanaReader) lens(l *kibanaLens, panel *Panel) error {
	if err := r.query(panel, l.State.Query); err != nil {
		return err
	}
	layer, ok := l.State.DatasourceStates.FormBased.Layers[lensLayerName]
	if !ok || len(l.State.DatasourceStates.FormBased.Layers) != 1 || len(layer.ColumnOrder) != len(layer.Columns) {
		return fmt.Errorf("it should have one layer, and its columns should be in order")
	}
	if _, err := r.index(l.References, lensReference); err != nil {
		return err
	}
	if err := l.uses(layer.ColumnOrder); err != nil {
		return err
	}
	aggs := make(map[string]any)
	panel.Body["aggs"] = aggs
	metrics := make(map[string]any)
	for _, id := range layer.ColumnOrder {
		c := layer.Columns[id]
		switch field := map[string]any{"field": c.SourceField}; c.OperationType {
		case "count":
			panel.metrics = append(panel.metrics, "")
			continue
		case "sum":
			metrics[id] = map[string]any{"sum": field}
		case "unique_count":
			metrics[id] = map[string]any{"cardinality": field}
		default:
			continue
		}
		panel.metrics = append(panel.metrics, id)
		panel.Fields = append(panel.Fields, c.SourceField)
	}
	for i, id := range layer.ColumnOrder {
		c := layer.Columns[id]
		if _, counted := metrics[id]; counted || c.OperationType == "count" {
			if c.IsBucketed {
				return fmt.Errorf("column %s should not be bucketed", id)
			}
			continue
		}
		if !c.IsBucketed || i != len(panel.buckets) {
			return fmt.Errorf("column %s should be bucketed, and before those that are not", id)
		}
		panel.Fields = append(panel.Fields, c.SourceField)
		below := make(map[string]any)
		switch p := c.Params; c.OperationType {
		case "date_histogram":
			if p.Interval != "auto" {
				return fmt.Errorf("the interval is %q", p.Interval)
			}
			aggs[id] = map[string]any{"aggs": below, "date_histogram": map[string]any{"field": c.SourceField, "fixed_interval": interval, "min_doc_count": 0,
				"time_zone": "UTC", "extended_bounds": map[string]int64{"min": r.shown.From.UnixMilli(), "max": r.shown.To.UnixMilli()}}}
		case "terms":
			order, ok := layer.Columns[p.OrderBy.ColumnID]
			if !ok || p.OrderBy.Type != "column" || p.MissingBucket || len(p.Include)+len(p.Exclude) > 0 || p.Size == 0 {
				return fmt.Errorf("the values of column %s are not understood", id)
			}
			by := "_count"
			if order.OperationType != "count" {
				by = p.OrderBy.ColumnID
				below[by] = metrics[by]
			}
			aggs[id] = map[string]any{"aggs": below, "terms": map[string]any{"field": c.SourceField, "size": p.Size, "order": map[string]string{by: p.OrderDirection}}}
		default:
			return fmt.Errorf("the operation %s is not understood", c.OperationType)
		}
		aggs = below
		panel.buckets = append(panel.buckets, bucket{id, c.OperationType == "date_histogram"})
	}
	for id, m := range metrics {
		aggs[id] = m
	}
	return nil
}

// uses reports whether the chart shows all the columns and no others.
func (l *kibanaLens) uses(columns []string) error {
	var v lensVisualization
	if err := strict(l.State.Visualization, &v); err != nil {
		return err
	}
	var used []string
	switch l.VisualizationType {
	case "lnsMetric":
		used = []string{v.MetricAccessor}
	case "lnsDatatable":
		for _, c := range v.Columns {
			used = append(used, c.ColumnID)
		}
	case "lnsXY":
		if len(v.Layers) != 1 {
			return fmt.Errorf("the chart has %d layers", len(v.Layers))
		}
		v.LayerID, v.LayerType = v.Layers[0].LayerID, v.Layers[0].LayerType
		used = append([]string{v.Layers[0].SplitAccessor, v.Layers[0].XAccessor}, v.Layers[0].Accessors...)
	default:
		return fmt.Errorf("the chart %s is not understood", l.VisualizationType)
	}
	if !slices.Equal(used, columns) || v.LayerID != lensLayerName || v.LayerType != "data" {
		return fmt.Errorf("the chart shows the columns %q of the layer %s, which has %q", used, v.LayerID, columns)
	}
	return nil
}
