// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// exportsValue is several destinations.
type exportsValue struct{ p *[]builder.Export }

func (v exportsValue) Set(text string) error {
	if text == "" {
		return nil
	}
	e, err := builder.ParseExport(text)
	if err == nil {
		*v.p = append(*v.p, e)
	}
	return err
}
func (v exportsValue) String() string { return strings.Join(v.dump(), ",") }
func (v exportsValue) Type() string   { return "DEST" }
func (v exportsValue) clear()         { *v.p = nil }
func (v exportsValue) dump() []string {
	var texts []string
	for _, e := range *v.p {
		texts = append(texts, e.String())
	}
	return texts
}
