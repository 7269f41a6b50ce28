// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// nobody is the id that files have whose owner does not exist in a user namespace, and that Debian has an account for.
const nobody = 65534

// IDError says that an account has an id that files cannot belong to while the image is built: chown(2)
// fails, and programs like useradd(8) leave the files to root.
type IDError struct {
	// Name is that of the account, in the file.
	Name, File string
	ID, Limit  uint32
}

func (e *IDError) Error() string {
	return fmt.Sprintf("%s in %s has the id %d, but only ids below %d can own files in this user namespace",
		e.Name, e.File, e.ID, e.Limit)
}

// CheckIDs returns an *IDError if an account has an id of limit or above. There is no limit if it is 0.
func CheckIDs(t target.Files, limit uint32) error {
	if limit == 0 {
		return nil
	}
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		text, err := t.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(line, ":")
			if len(fields) < 3 {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(fields[2]), 10, 32)
			if err == nil && uint32(id) >= limit && id != nobody {
				return &IDError{Name: fields[0], File: file, ID: uint32(id), Limit: limit}
			}
		}
	}
	return nil
}
