// SPDX-License-Identifier: Apache-2.0

package mounts

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are the options of a specs.Mount, sorted by who wants to know them.
type Options struct {
	Flags      uintptr // of mount(2)
	Attributes uint64  // of mount_setattr(2), for binds
	Recursive  bool    // the attributes hold for the mounts below, too
	Data       string  // for the file system
	CopyUp     bool
	Devices    bool // device nodes can be opened
}

// OptionFlags are those options of mount(8) that are flags in the kernel.
var OptionFlags = map[string]struct {
	Flag      uintptr
	Attribute uint64
}{
	"ro":     {unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
	"nosuid": {unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
	"nodev":  {unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
	"noexec": {unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
}

// ParseOptions reads the options of a mount of the runtime specification.
func ParseOptions(options []string) (Options, error) {
	var parsed Options
	var data []string
	for _, o := range options {
		f, isFlag := OptionFlags[o]
		switch {
		case isFlag:
			parsed.Flags |= f.Flag
			parsed.Attributes |= f.Attribute
		case o == "rro":
			parsed.Attributes |= unix.MOUNT_ATTR_RDONLY
			parsed.Recursive = true
		case o == CopyUpOption:
			parsed.CopyUp = true
		case o == DeviceOption:
			parsed.Devices = true
		case slices.Contains([]string{"bind", "rbind", "rw"}, o):
		case strings.Contains(o, ",") || o == "":
			return parsed, fmt.Errorf("%q is not a mount option", o)
		default:
			data = append(data, o)
		}
	}
	parsed.Data = strings.Join(data, ",")
	return parsed, nil
}

// CopyUpOption is a mount option known from runc: a tmpfs begins with a copy of what it covers.
const CopyUpOption = "tmpcopyup"

// DeviceOption lets device nodes of a bind be opened, as mount(8) knows it; without, they cannot.
const DeviceOption = "dev"
