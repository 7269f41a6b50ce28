// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"slices"
	"testing"
)

// Issue 12, A4: only the header of a member determines its owner.
func TestOwnerXattrsOfAnArchiveAreIgnored(t *testing.T) {
	t.Parallel()
	const xattr = "SCHILY.xattr."
	forged := map[string]string{xattr + "user.vmdebootstrap.owner": "0:0",
		xattr + "user.vmdebootstrap.posix_acl_access": "x", xattr + "user.mine": "y"}
	capability := map[string]string{xattr + "security.capability": string(append([]byte{0, 0, 0, 2, 1, 0, 0, 0, 1},
		make([]byte, 11)...))}
	var in, out bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []tar.Header{
		{Name: "root", Typeflag: tar.TypeReg, PAXRecords: forged},
		{Name: "user", Typeflag: tar.TypeReg, Uid: 7, Gid: 8, PAXRecords: forged},
		{Name: "dir", Typeflag: tar.TypeDir, PAXRecords: forged},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "x", PAXRecords: capability},
		{Name: "ping", Typeflag: tar.TypeReg, PAXRecords: capability},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ownersToXattrs(&in, &out); err != nil {
		t.Fatal(err)
	}
	mine := []string{xattr + "user.mine"}
	want := map[string][]string{
		"root": mine, "user": {xattr + "user.mine", xattr + "user.vmdebootstrap.owner"}, "dir": mine, "link": nil,
		"ping": {xattr + "security.capability"},
	}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(h.PAXRecords)); !slices.Equal(got, want[h.Name]) {
			t.Errorf("%s has %q, want %q", h.Name, got, want[h.Name])
		}
		if value := h.PAXRecords[xattr+"user.vmdebootstrap.owner"]; h.Name == "user" && value != "7:8" {
			t.Errorf("%s belongs to %q, want 7:8", h.Name, value)
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
