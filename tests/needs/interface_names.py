# needs: ioctl/SIOCGIFNAME, ioctl/SIOCGIFINDEX, socket/AF_NETLINK+SOCK_RAW+NETLINK_ROUTE
import socket
print(socket.if_indextoname(1), socket.if_nametoindex("lo"), socket.if_nameindex())
