"""networkx: paths, flows, centrality, communities, a layout, files; drawn with matplotlib."""

import networkx as nx

club = nx.karate_club_graph()
assert (club.number_of_nodes(), club.number_of_edges()) == (34, 78)
assert nx.shortest_path_length(club, 16, 25) == 4
assert max(nx.pagerank(club).items(), key=lambda item: item[1])[0] == 33
groups = nx.community.greedy_modularity_communities(club)
assert sum(len(group) for group in groups) == 34 and 2 <= len(groups) <= 5
net = nx.DiGraph()
net.add_edge("s", "a", capacity=3)
net.add_edge("s", "b", capacity=2)
net.add_edge("a", "t", capacity=2)
net.add_edge("b", "t", capacity=3)
assert nx.maximum_flow_value(net, "s", "t") == 4
assert list(nx.topological_sort(net))[0] == "s"
assert nx.is_isomorphic(nx.petersen_graph(), nx.relabel_nodes(nx.petersen_graph(), lambda n: n * 7))
nx.write_graphml(club, "club.graphml")
assert nx.read_graphml("club.graphml").number_of_edges() == 78
import matplotlib.pyplot as plt

nx.draw(club, nx.spring_layout(club, seed=1), with_labels=True)
plt.savefig("club.png")
assert open("club.png", "rb").read(4) == b"\x89PNG"
print("fine")
