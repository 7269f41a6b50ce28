// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"cmp"
	"fmt"
	"path"
	"strings"
)

// Brief is a list of files that differ, without those that follow from the rest of a Report.
type Brief struct {
	Files []File
	// Below is the number of names below a directory of Files that are left out, because it was added or removed with
	// all of them.
	Below map[string]int
	// OfPackages is the number of files that are left out because their package differs.
	OfPackages int
}

// Brief returns the files that people want to see: not those of packages that differ, and not each one of a directory
// that was added or removed as a whole.
func (r Report) Brief() Brief {
	differs := map[string]bool{}
	for _, list := range [][]Package{r.Packages.Added, r.Packages.Removed, r.Packages.Upgraded, r.Packages.Downgraded} {
		for _, p := range list {
			differs[p.Name] = true
		}
	}
	brief := Brief{Below: map[string]int{}}
	var files []File
	whole := map[string]string{} // directories and their signs
	for _, f := range r.Files {
		if differs[f.Package] {
			brief.OfPackages++
			continue
		}
		files = append(files, f)
		if s := f.Sign(); s != Changed && cmp.Or(f.A, f.B).Type == "directory" {
			whole[f.Name] = s
		}
	}
	for _, f := range files {
		top := ""
		for dir := path.Dir(f.Name); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if whole[dir] == f.Sign() {
				top = dir
			}
		}
		if top == "" {
			brief.Files = append(brief.Files, f)
		} else {
			brief.Below[top]++
		}
	}
	return brief
}

// The values of File.Sign.
const (
	Added   = "+"
	Removed = "-"
	Changed = "!"
)

// Sign returns whether the file was added, removed, or has changed.
func (f File) Sign() string {
	switch {
	case f.A == nil:
		return Added
	case f.B == nil:
		return Removed
	}
	return Changed
}

// Text describes the file, or what has changed, in a line.
func (f File) Text() string {
	switch f.Sign() {
	case Added:
		return f.B.String()
	case Removed:
		return f.A.String()
	}
	text := strings.Join(f.Changes, ", ")
	if a, b := f.A.String(), f.B.String(); a != b {
		text += ": " + a + " → " + b
	}
	return text
}

// String returns type, mode, owner and size of a file: "file 0644 0:0 12 bytes".
func (m Metadata) String() string {
	text := fmt.Sprintf("%s %s %d:%d", m.Type, m.Mode, m.UID, m.GID)
	switch {
	case m.Target != "":
		return text + " to " + m.Target
	case m.Device != "":
		return text + " device " + m.Device
	case m.Type == "file":
		return fmt.Sprintf("%s %d bytes", text, m.Size)
	}
	return text
}
