# needs: ioctl/SIOCGIFCONF, ioctl/SIOCGIFFLAGS, ioctl/SIOCGIFADDR, ioctl/SIOCGIFBRDADDR, ioctl/SIOCGIFNETMASK
# needs: ioctl/SIOCGIFMTU, ioctl/SIOCGIFHWADDR
# The recipe that everybody copies; Java and psutil ask in the same way.
import array, fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name in ("FLAGS", "ADDR", "BRDADDR", "NETMASK", "MTU", "HWADDR"):
    number = {"FLAGS": 0x8913, "ADDR": 0x8915, "BRDADDR": 0x8919, "NETMASK": 0x891B, "MTU": 0x8921, "HWADDR": 0x8927}[name]
    print(name, fcntl.ioctl(s.fileno(), number, struct.pack("256s", b"lo"))[16:24])
names = array.array("B", bytes(400))
length = struct.unpack("iL", fcntl.ioctl(s.fileno(), 0x8912, struct.pack("iL", 400, names.buffer_info()[0])))[0]
print(names.tobytes()[:length][:2])
