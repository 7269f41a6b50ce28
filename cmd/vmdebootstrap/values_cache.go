// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// remotesValue is several locations of shared snapshots.
type remotesValue struct{ p *[]builder.Remote }

func (v remotesValue) Set(text string) error {
	if text == "" {
		return nil
	}
	r, err := builder.ParseRemote(text)
	if err == nil {
		*v.p = append(*v.p, r)
	}
	return err
}
func (v remotesValue) String() string { return strings.Join(v.dump(), ",") }
func (v remotesValue) Type() string   { return "LOCATION" }
func (v remotesValue) clear()         { *v.p = nil }
func (v remotesValue) dump() []string {
	var texts []string
	for _, r := range *v.p {
		texts = append(texts, r.String())
	}
	return texts
}
