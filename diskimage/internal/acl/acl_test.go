package acl

import (
	"bytes"
	"testing"
)

func TestOnlyEntriesOfNamedUsersAndGroupsKeepTheirID(t *testing.T) {
	t.Parallel()
	got, err := Disk([]byte{
		2, 0, 0, 0,
		1, 0, 7, 0, 255, 255, 255, 255, // owner
		2, 0, 6, 0, 1, 2, 3, 4, // a user
		8, 0, 5, 0, 5, 6, 7, 8, // a group
	})
	want := []byte{1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 6, 0, 1, 2, 3, 4, 8, 0, 5, 0, 5, 6, 7, 8}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got % x, %v, want % x", got, err, want)
	}
	for _, bad := range [][]byte{nil, {1, 0, 0, 0}, {2, 0, 0, 0, 1}} {
		if _, err := Disk(bad); err == nil {
			t.Errorf("% x: no error", bad)
		}
	}
}
