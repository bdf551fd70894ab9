"""Never reads its stdin."""
print("SAW stdin unread")
