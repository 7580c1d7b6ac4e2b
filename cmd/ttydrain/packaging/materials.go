package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials returns the bill of materials of a binary in CycloneDX: the modules that the
// linker has recorded in it, Go, and the player.
func (r *release) billOfMaterials(ctx context.Context, binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	found, err := r.components(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]component)
	for _, c := range found {
		known[c.name] = c
	}
	main := material("ttydrain", r.version, "pkg:golang/"+info.Main.Path+"@v"+r.version, []string{"Apache-2.0"})
	main.Type = cyclonedx.ComponentTypeApplication
	list := []cyclonedx.Component{
		material("Go", strings.TrimPrefix(info.GoVersion, "go"), "pkg:golang/std@"+strings.TrimPrefix(info.GoVersion, "go"), known["Go"].licenses),
	}
	for _, c := range found {
		if c.name != "Go" && !strings.Contains(c.name, "/") {
			url := "pkg:npm/" + c.name
			if c.version != "" {
				url += "@" + c.version
			}
			list = append(list, material(c.name, c.version, url, c.licenses))
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c, ok := known[m.Path]
		if !ok {
			return nil, fmt.Errorf("the binary contains %s, which go list does not report", m.Path)
		}
		list = append(list, material(m.Path, m.Version, "pkg:golang/"+m.Path+"@"+m.Version, c.licenses))
	}
	var refs []string
	for _, c := range list {
		refs = append(refs, c.BOMRef)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: r.time.Format(time.RFC3339), Component: &main}
	bom.Components = &list
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	var b bytes.Buffer
	err = cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return b.Bytes(), err
}

func material(name, version, url string, licenses []string) cyclonedx.Component {
	var choices cyclonedx.Licenses
	for _, id := range licenses {
		choices = append(choices, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
	}
	return cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: url, Licenses: &choices}
}
