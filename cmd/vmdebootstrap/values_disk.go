// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// auto is the word for a size that is computed.
const auto = "auto"

// autoSizeValue is a number of bytes, or auto.
type autoSizeValue struct {
	sizeValue
	auto *bool
}

func (v autoSizeValue) Set(text string) error {
	if *v.auto = text == auto; *v.auto {
		return nil
	}
	return v.sizeValue.Set(text)
}

func (v autoSizeValue) String() string {
	if *v.auto {
		return auto
	}
	return v.sizeValue.String()
}

func (v autoSizeValue) dump() []string {
	if *v.auto {
		return []string{auto}
	}
	return v.sizeValue.dump()
}

// spaceValue is a size or a percentage.
type spaceValue struct{ p *builder.Space }

func (v spaceValue) Set(text string) error {
	space, err := builder.ParseSpace(text)
	if err == nil {
		*v.p = space
	}
	return err
}
func (v spaceValue) String() string { return v.p.String() }
func (v spaceValue) Type() string   { return "SPACE" }
func (v spaceValue) dump() []string { return []string{v.p.String()} }

// blobsValue is several files with their offsets on the disk.
type blobsValue struct{ p *[]builder.Blob }

// Set ignores an empty text, as for any list.
func (v blobsValue) Set(text string) error {
	if text == "" {
		return nil
	}
	blob, err := builder.ParseBlob(text)
	if err == nil {
		*v.p = append(*v.p, blob)
	}
	return err
}
func (v blobsValue) String() string { return strings.Join(v.dump(), ",") }
func (v blobsValue) Type() string   { return "LIST" }
func (v blobsValue) clear()         { *v.p = nil }
func (v blobsValue) dump() []string {
	var texts []string
	for _, b := range *v.p {
		texts = append(texts, b.String())
	}
	return texts
}
