// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// EnrolTPM2 has each machine bind its encrypted root partition to its own TPM 2 at the first boot at which it has one.
// The key for that, EnrolTPM2Key, is not written by the step: it must be in no cached result and no tar archive.
type EnrolTPM2 struct {
	base
	// LUKS is the UUID of the LUKS container.
	LUKS string
}

func (EnrolTPM2) Kind() string { return "enrol-tpm2" }

func (EnrolTPM2) Title() string { return "let each copy enrol its TPM 2" }

// Files of EnrolTPM2.
const (
	// EnrolTPM2Key holds the key of a key slot that exists until the TPM is enrolled. Without it, there is nothing to do.
	EnrolTPM2Key     = "/etc/enrol-tpm2.key"
	EnrolTPM2Program = "/usr/local/sbin/enrol-tpm2"
	EnrolTPM2Unit    = systemUnits + "enrol-tpm2.service"
	EnrolTPM2Wanted  = systemUnits + "multi-user.target.wants/enrol-tpm2.service"
)

// enrolTPM2Program continues where an earlier boot was interrupted: each command is left out if its result is there.
// The key slot is removed only after the TPM is enrolled, and the file only after the key slot. PCR 7 in the bank of
// SHA-256 is the state of Secure Boot.
const enrolTPM2Program = `#!/bin/sh
# Written by vmdebootstrap --luks-tpm2: binds the root partition to this machine's TPM, and removes the key for that.
set -eu
device=/dev/disk/by-uuid/%s
key=` + EnrolTPM2Key + `
clevis luks list -d "$device" | grep -q ': tpm2 ' ||
	clevis luks bind -y -d "$device" -k "$key" tpm2 '{"pcr_bank":"sha256","pcr_ids":"7"}'
status=0
cryptsetup luksRemoveKey --batch-mode "$device" "$key" || status=$?
if [ "$status" != 0 ] && [ "$status" != 2 ]; then # 2: no key slot has this key any more
	exit "$status"
fi
rm "$key"
`

// The conditions keep the service for a later boot while there is no TPM: it may be enabled in the firmware later.
// clevis has copies of the LUKS header in /tmp while it works.
const enrolTPM2Unit = `# Written by vmdebootstrap --luks-tpm2.
[Unit]
Description=Enrol the TPM 2 for the encrypted root partition
ConditionPathExists=/dev/tpmrm0
ConditionPathExists=` + EnrolTPM2Key + `

[Service]
Type=oneshot
PrivateTmp=yes
ExecStart=` + EnrolTPM2Program + `
`

var enrolTPM2Service = service{program: EnrolTPM2Program, unit: EnrolTPM2Unit, wanted: EnrolTPM2Wanted}

func (e EnrolTPM2) Run(_ context.Context, s *Context) error { return e.Write(s.Target) }

// Write writes the files to f.
func (e EnrolTPM2) Write(f target.Files) error {
	return enrolTPM2Service.write(f, fmt.Sprintf(enrolTPM2Program, e.LUKS), enrolTPM2Unit)
}
